"""Asks a VIM once: one signature and one table for all kinds of probe, a file for each."""

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

from vimmon.actions.probing import http, tcp
from vimmon.actions.probing.reasons import Trouble, no_answer
from vimmon.actions.probing.resolver import Resolver
from vimmon.actions.probing.wire import Tls, Wire
from vimmon.probes import HttpProbe, Outcome, TcpProbe
from vimmon.vim import parse_auth_url

KINDS: Mapping[type, Callable[[Any, Wire], Awaitable[Outcome]]] = {HttpProbe: http.probe, TcpProbe: tcp.probe}
CONCURRENCY_MAX = 2000

_target = lru_cache(maxsize=16_384)(parse_auth_url)


class Prober:
    """All probes of one event loop; make it once, inside the loop, and close it there.

    Trouble on the wire is an Outcome UNREACHABLE whose reason says what to look at; the prober's own trouble (no free
    descriptor, no local address, a resolver that does not answer) is UNKNOWN, `cannot probe: …`. A bug escapes.
    """

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        resolver: Resolver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`concurrency` bounds the probes that run at once; by default what the process's open-files limit carries.

        A `resolver` that is given is closed with the prober.
        """
        self._turns = asyncio.Semaphore(concurrency or _default_concurrency())
        self._resolver = resolver or Resolver(clock=clock)
        self._tls = Tls()
        self._clock = clock
        self._running = 0
        self._waiting = 0

    @property
    def running(self) -> int:
        """How many probes are on the wire now."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many probes queue for their turn: a lag of this prober, never a failure of a VIM."""
        return self._waiting

    async def probe(self, probe: HttpProbe | TcpProbe) -> Outcome:
        """What the VIM answers. The timeout begins when the probe's turn has come. May be cancelled at any time.

        Raises InvalidInput for an auth_url that cannot be probed, which `parse_probe` does not let through.
        """
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            return await self._ask(probe)
        finally:
            self._running -= 1
            self._turns.release()

    async def _ask(self, probe: HttpProbe | TcpProbe) -> Outcome:
        target = _target(probe.auth_url)
        ends_at = asyncio.get_running_loop().time() + probe.timeout_s
        try:
            addresses = await self._resolver.addresses(target.host, target.port, probe.timeout_s)
            wire = Wire(target, addresses, probe.timeout_s, self._tls, self._clock)
            async with asyncio.timeout_at(ends_at):
                return await KINDS[type(probe)](probe, wire)
        except Trouble as trouble:
            return trouble.outcome
        except TimeoutError:
            return no_answer(probe.timeout_s)

    async def close(self) -> None:
        """Let go of the threads. Probes that still run are the caller's to cancel first."""
        self._resolver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _default_concurrency() -> int:
    """A third of the files this process may open: a probe may race to several addresses, and is not alone here."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONCURRENCY_MAX if files == resource.RLIM_INFINITY else max(1, min(CONCURRENCY_MAX, files // 3))
