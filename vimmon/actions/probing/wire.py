"""What one probe has of the wire: how to find its target's addresses, connect to one of them, and keep to its time."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vimmon.actions.probing.deadline import Deadline
from vimmon.actions.probing.echo import Echo
from vimmon.actions.probing.establish import establish
from vimmon.actions.probing.handshakes import Handshakes
from vimmon.actions.probing.reasons import SHORTAGES, Trouble, no_such_source, of_connecting, unreachable
from vimmon.actions.probing.resolver import Address, Resolver, bind_address
from vimmon.actions.probing.shortlist import Shortlist
from vimmon.actions.probing.tls import TlsContexts
from vimmon.probe_checks import ip_version
from vimmon.probes import IpFamily, ProbeBase, Trace
from vimmon.vim import Target

STAGGER_S = 0.25  # RFC 8305's delay before the next address is tried beside one that does not answer
IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: choose the port when connecting, one that is free for that target

ANY_FAMILY = IpFamily.AUTO

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shared:
    """What the probes of one prober have in common."""

    resolver: Resolver
    contexts: TlsContexts
    handshakes: Handshakes
    shortlist: Shortlist
    echo: Echo
    clock: Callable[[], float]
    loop: asyncio.AbstractEventLoop


class Wire:
    """One probe's way to its target. Its time runs from here on; it stands still where this host is `paused`.

    `ends_at` is when the time is over, by the loop's clock; `paused_s` is how long it stood still.
    """

    __slots__ = (
        "_deadline",
        "_loop",
        "_name",
        "_phase_began",
        "_shortage",
        "ends_at",
        "paused_s",
        "probe",
        "shared",
        "target",
        "trace",
    )

    def __init__(self, probe: ProbeBase, shared: Shared, trace: Trace | None) -> None:
        self.probe = probe
        self.shared = shared
        self.trace = trace
        self.target: Target = probe.next_hop
        self.paused_s = 0.0
        self._loop = shared.loop
        self.ends_at = shared.loop.time() + probe.timeout_s
        self._deadline: Deadline | None = None
        self._name: Hashable = None
        self._shortage: OSError | None = None  # of ours, while no other address has answered
        self._phase_began = shared.clock() if trace else 0.0

    @property
    def left_s(self) -> float:
        """How much of its time is left."""
        return max(0.0, self.ends_at - self._loop.time())

    def ended(self, phase: str) -> None:
        """Notes how long a phase took, for whoever asked: `name`, `connect`, `tls` or `answer`."""
        if self.trace is not None:
            now = self.shared.clock()
            if getattr(self.trace, f"{phase}_ms") is None:  # else it is a second look
                setattr(self.trace, f"{phase}_ms", round((now - self._phase_began) * 1000, 3))
            self._phase_began = now

    def stopped(self, phases: Sequence[str]) -> None:
        """Notes which of its phases the probe did not get past, and how long that one lasted."""
        if self.trace is not None:
            left = [phase for phase in phases if getattr(self.trace, f"{phase}_ms") is None]
            if left:
                self.trace.unfinished = left[0]
                self.trace.unfinished_ms = round((self.shared.clock() - self._phase_began) * 1000, 3)

    async def resolve(self) -> Sequence[Address]:
        """The target's addresses to try, of the family that the probe wants. It keeps to the probe's time by itself.

        Raises Trouble when there are none, or they cannot be known.
        """
        probe, version = self.probe, None
        found = await self.shared.resolver.addresses(self.target.host, self.target.port, probe.timeout_s)
        if probe.source_address is not None or probe.ip_family is not ANY_FAMILY:
            version = int(probe.ip_family) if probe.source_address is None else ip_version(probe.source_address)
            family = socket.AF_INET6 if version == 6 else socket.AF_INET
            found = [each for each in found if each.family == family]
            if not found:
                raise Trouble(unreachable(f"the name has no IPv{version} address"))
        self._name = (self.target, version)
        found = self.shared.shortlist.of(self._name, found)
        if self.trace is not None:
            self.ended("name")
            self.trace.address = str(found[0])
        return found

    @contextlib.asynccontextmanager
    async def within(self) -> AsyncIterator[None]:
        """A context that ends with TimeoutError when the time is over; with Trouble if an address was never asked."""
        try:
            async with Deadline(self.ends_at) as self._deadline:
                yield
        except TimeoutError:
            if self._shortage is not None:
                raise Trouble(of_connecting([self._shortage])) from None
            raise

    async def connect(self, addresses: Sequence[Address]) -> socket.socket:
        """A connected, non-blocking socket, which is the caller's to close. Raises Trouble when all addresses fail."""
        source = None if self.probe.source_address is None else bind_address(self.probe.source_address)
        connection = await self.first(addresses, lambda address: _connect(address, source), _close_late)
        self.ended("connect")
        return connection

    async def first(
        self,
        addresses: Sequence[Address],
        attempt: Callable[[Address], Awaitable[T]],
        late: Callable[[asyncio.Task[T]], None],
    ) -> T:
        """What the first attempt that succeeds gives.

        The next address is tried as soon as the one before fails, or while it keeps silent. `late` gets every attempt
        that is given up. Raises Trouble when all have failed.
        """
        if len(addresses) > 1:
            return await self._race(addresses, attempt, late)
        try:
            return await attempt(addresses[0])
        except OSError as error:
            raise Trouble(of_connecting([error])) from None

    async def _race(
        self,
        addresses: Sequence[Address],
        attempt: Callable[[Address], Awaitable[T]],
        late: Callable[[asyncio.Task[T]], None],
    ) -> T:
        stagger_s = min(STAGGER_S, self.probe.timeout_s / (len(addresses) + 1))
        left = list(addresses)
        running: dict[asyncio.Task[T], Address] = {}
        errors: list[OSError] = []

        async def one(address: Address) -> T:
            return await attempt(address)

        try:
            while left or running:
                if left:
                    address = left.pop(0)
                    running[asyncio.create_task(one(address))] = address
                done, _ = await asyncio.wait(
                    running, timeout=stagger_s if left else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    address = running.pop(task)
                    if self.trace is not None:
                        self.trace.address = str(address)
                    try:
                        found = task.result()
                    except OSError as error:
                        errors.append(error)
                        if error.errno in SHORTAGES:
                            self._shortage = error
                    else:
                        self._shortage = None
                        self.shared.shortlist.keep(self._name)
                        return found
        finally:
            for task in running:
                task.cancel()
                task.add_done_callback(late)
        raise Trouble(of_connecting(errors))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The probe's time stands still inside: what happens there is no fault of the VIM."""
        began = self._loop.time()
        if self._deadline is not None:
            self._deadline.reschedule(None)
        try:
            yield
        finally:
            waited_s = self._loop.time() - began
            self.paused_s += waited_s
            self._phase_began += waited_s
            self.ends_at += waited_s
            if self._deadline is not None:
                self._deadline.reschedule(self.ends_at)


async def _connect(address: Address, source: Address | None = None) -> socket.socket:
    connection = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        if source is not None:
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            try:
                connection.bind(source.sockaddr)
            except OSError:
                raise Trouble(no_such_source(source.sockaddr[0])) from None
        await establish(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
