"""Finds the addresses of a VIM's host without ever blocking the loop, and remembers the last good ones.

Lookups run in threads of their own (`lookups`): when the name servers are dead, each may hang for half a minute, and
nothing else must wait behind it. A name that was resolved once is answered from memory at once, and looked up again in
the background when `ttl_s` has passed; if the name servers fail then, the last good addresses stay in use.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Any

from vimmon.actions.probing.lookups import GetAddrInfo, Lookups
from vimmon.actions.probing.reasons import Trouble, cannot_probe, of_connecting, unreachable
from vimmon.probe_checks import target_of
from vimmon.probes import Outcome
from vimmon.vim import VimStatus

ADDRESSES_MAX = 100  # of one name
NAMES_MAX = 50_000
NOT_FOUND = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5), getattr(socket, "EAI_ADDRFAMILY", -9)})
NO_SUCH_NAME = unreachable("name not found")


@dataclass(frozen=True)
class Address:
    """Where to connect to: what a socket of `family` takes, without any name left in it."""

    family: socket.AddressFamily
    sockaddr: tuple[str, int] | tuple[str, int, int, int]

    def __str__(self) -> str:
        ip, port = self.sockaddr[:2]
        zone = f"%{self.sockaddr[3]}" if len(self.sockaddr) == 4 and self.sockaddr[3] else ""
        return f"[{ip}{zone}]:{port}" if self.family == socket.AF_INET6 else f"{ip}:{port}"


@dataclass(frozen=True)
class _Host:
    family: socket.AddressFamily
    ip: str
    scope_id: int = 0

    def at(self, port: int) -> Address:
        if self.family == socket.AF_INET6:
            return Address(self.family, (self.ip, port, 0, self.scope_id))
        return Address(self.family, (self.ip, port))


@dataclass(frozen=True)
class _Known:
    """What the last lookup of a name gave. No hosts: `trouble` says why."""

    hosts: tuple[_Host, ...]
    trouble: Outcome | None
    fresh_until: float


class Resolver:
    """Names to addresses, for one event loop. `ttl_s`: when to look again; `retry_s`: the same after a failure."""

    def __init__(
        self,
        *,
        ttl_s: float = 60,
        retry_s: float = 2,
        threads: int = 8,
        getaddrinfo: GetAddrInfo = socket.getaddrinfo,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl_s = ttl_s
        self._retry_s = retry_s
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._known: dict[str, _Known] = {}
        self._asked: dict[str, asyncio.Future[_Known]] = {}  # lookups under way, one for each name
        self._lookups = Lookups(getaddrinfo, threads, self._finish)

    async def addresses(self, host: str, port: int, timeout_s: float) -> Sequence[Address]:
        """The addresses of `host`, families in turn, the preferred first. An IP address is its own answer.

        Raises Trouble: the name does not exist, or it is not known within `timeout_s` whether it does.
        """
        if literal := _literal_at(host, port) if "%" in host else _remembered_at(host, port):
            return literal
        known = self._known.get(host)
        if known is None or self._clock() >= known.fresh_until:
            lookup = self._look_up(host)
            if known is None or not known.hosts:
                try:
                    async with asyncio.timeout(timeout_s):
                        known = await asyncio.shield(lookup)
                except TimeoutError:
                    raise Trouble(cannot_probe(f"no answer from the name servers within {timeout_s:g} s")) from None
        if known.trouble:
            raise Trouble(known.trouble)
        return [each.at(port) for each in known.hosts]

    def known(self, host: str, port: int) -> tuple[Sequence[Address], float] | None:
        """The addresses of a name and until when nobody has to be asked again. None: they are not known so well now."""
        known = self._known.get(host)
        if known is None or known.trouble or self._clock() >= known.fresh_until:
            return None
        return [each.at(port) for each in known.hosts], known.fresh_until

    @property
    def looking_up(self) -> int:
        """How many names are being looked up, or wait for a thread."""
        return len(self._asked)

    def close(self) -> None:
        """Let the threads end. One that hangs in a lookup does not hold up the process's exit."""
        self._lookups.close()
        for lookup in self._asked.values():
            lookup.cancel()

    def _look_up(self, host: str) -> asyncio.Future[_Known]:
        lookup = self._asked.get(host)
        if lookup is None:
            self._lookups.look_up(host)
            lookup = self._asked[host] = self._loop.create_future()
        return lookup

    def _finish(self, host: str, found: list[tuple[Any, ...]] | Exception) -> None:
        lookup = self._asked.pop(host)
        if isinstance(found, Exception) and not isinstance(found, OSError):
            if not lookup.done():
                lookup.set_exception(found)
            return
        known = self._learn(self._known.get(host), found)
        self._known.pop(host, None)
        self._known[host] = known
        if len(self._known) > NAMES_MAX:
            del self._known[next(iter(self._known))]
        if not lookup.done():
            lookup.set_result(known)

    def _learn(self, before: _Known | None, found: list[tuple[Any, ...]] | OSError) -> _Known:
        if not isinstance(found, OSError) and (hosts := _hosts(found)):
            return _Known(hosts, None, self._clock() + self._ttl_s)
        retry_at = self._clock() + self._retry_s
        trouble = _trouble(found) if isinstance(found, OSError) else NO_SUCH_NAME
        if before and before.hosts and trouble.status == VimStatus.UNKNOWN:
            return _Known(before.hosts, None, retry_at)
        return _Known((), trouble, retry_at)


def _literal_at(host: str, port: int) -> tuple[Address] | None:
    """`host` as an address. None: it is a name."""
    literal = _literal(host)
    return (literal.at(port),) if literal else None


_remembered_at = lru_cache(maxsize=32_768)(_literal_at)  # without a zone: the number of that may change


@lru_cache(maxsize=32_768)
def literal_in(auth_url: str) -> tuple[Address] | None:
    """The address that an auth_url names. None: it has a name, or an address with a zone. Found in a single step: what
    thousands of probes look up is in nobody's cache, and each step costs more than it seems to."""
    target = target_of(auth_url)
    return None if "%" in target.host else _literal_at(target.host, target.port)


def bind_address(address: str) -> Address:
    """Where to bind a socket, so that it sends from `address`. Raises Trouble for a zone that is not here."""
    literal = _literal(address)
    if literal is None:
        raise ValueError(f"not an address: {address!r}")
    return literal.at(0)


def _literal(host: str) -> _Host | None:
    """`host` as an address, its zone as this host's number for it. None: it is a name."""
    ip, _, zone = host.partition("%")
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        ip = socket.inet_ntop(family, socket.inet_pton(family, ip))  # as the kernel writes it, when it answers
    except OSError:
        return None
    if not zone:
        return _Host(family, ip)
    try:
        return _Host(family, ip, int(zone) if zone.isdecimal() else socket.if_nametoindex(zone))
    except OSError:
        raise Trouble(cannot_probe(f"this host has no network interface {zone}")) from None


def _hosts(found: list[tuple[Any, ...]]) -> tuple[_Host, ...]:
    by_family: dict[socket.AddressFamily, dict[_Host, None]] = {}
    for family, _, _, _, sockaddr in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            host = _Host(family, sockaddr[0], sockaddr[3] if len(sockaddr) == 4 else 0)
            by_family.setdefault(family, {})[host] = None
    in_turn = chain.from_iterable(zip_longest(*by_family.values()))
    return tuple(host for host in in_turn if host is not None)[:ADDRESSES_MAX]


def _trouble(error: OSError) -> Outcome:
    if not isinstance(error, socket.gaierror):
        return of_connecting([error])
    if error.errno not in NOT_FOUND:
        return cannot_probe("the name servers do not answer, or fail")
    try:  # without a free descriptor the system's resolver reads no file, asks nobody, and says "not found"
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError as own:
        return of_connecting([own])
    return NO_SUCH_NAME
