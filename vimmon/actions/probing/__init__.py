"""Asks a VIM once: one signature and one table for all kinds of probe, a file for each."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from vimmon.actions.probing import http, icmp, tcp
from vimmon.actions.probing.echo import Echo
from vimmon.actions.probing.echo_peer import Asker, Peer
from vimmon.actions.probing.files import probes_at_once
from vimmon.actions.probing.handshakes import Handshakes
from vimmon.actions.probing.reasons import Trouble, no_answer
from vimmon.actions.probing.resolver import Resolver
from vimmon.actions.probing.shortlist import Shortlist
from vimmon.actions.probing.tls import TlsContexts
from vimmon.actions.probing.turns import Turns
from vimmon.actions.probing.wire import Shared, Wire
from vimmon.metrics import LAG_S, Histogram
from vimmon.probe_checks import target_of
from vimmon.probes import HttpProbe, IcmpProbe, Outcome, Probe, TcpProbe, Trace

KINDS: Mapping[type, Callable[[Any, Wire], Awaitable[Outcome]]] = {
    HttpProbe: http.probe,
    TcpProbe: tcp.probe,
    IcmpProbe: icmp.probe,
}
HANDSHAKES_MAX = 100  # and four times as many slow ones; each holds 300 KiB, and takes 1 ms in one piece
ECHOES_MAX = 10_000  # they share one socket, whose buffer holds about as many replies


class Prober:
    """All probes of one event loop; make it once, inside the loop, and close it there.

    Trouble on the wire is an Outcome UNREACHABLE whose reason says what to look at; the prober's own trouble (no free
    descriptor, no local address, a resolver that does not answer) is UNKNOWN, `cannot probe: …`. A bug escapes.
    """

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        handshakes: int = HANDSHAKES_MAX,
        resolver: Resolver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`concurrency` bounds the probes that run at once; by default what the process's open-files limit carries.

        Of these, `handshakes` may be within a TLS handshake, and four times as many within one that is slow.
        A `resolver` that is given is closed with the prober.
        """
        self._clock = clock
        self.waits = Histogram(LAG_S)  # how long probes queued for their turn, of those that had to
        self._turns = Turns(concurrency or probes_at_once())
        self._echo_turns = Turns(concurrency or ECHOES_MAX)
        self._shared = Shared(
            resolver=resolver or Resolver(clock=clock),
            contexts=TlsContexts(clock),
            handshakes=Handshakes(handshakes),
            shortlist=Shortlist(),
            echo=Echo(clock),
            clock=clock,
            loop=asyncio.get_running_loop(),
        )

    @property
    def running(self) -> int:
        """How many probes are on the wire now."""
        return self._turns.running + self._echo_turns.running

    @property
    def waiting(self) -> int:
        """How many probes queue, for their turn or for a TLS handshake: a lag of this prober, never a VIM's failure."""
        return self._turns.waiting + self._echo_turns.waiting + self._shared.handshakes.waiting

    def asker(
        self, replied: Callable[[Sequence[Peer], float], None], failed: Callable[[Peer, Exception | None], None]
    ) -> Asker:
        """In whose name peers can be asked, and who is told. Of what failed, `icmp.outcome_of` understands all but
        bugs."""
        return Asker(replied, failed, self._echo_turns)

    def peer(self, probe: IcmpProbe, asker: Asker, of: Any = None) -> tuple[Peer, float] | None:
        """Whom `ask` can ask, and until when that is the right one, by this prober's clock. None: only `probe` will do.

        `of`: as what the asker knows it.
        """
        return icmp.peer_of(probe, self._shared, asker, of)

    def ask(self, peers: Sequence[Peer]) -> Sequence[Peer]:
        """Sends a request to each, of which none may await a reply. Those that are given back were not asked: they have
        to wait for a turn. This is `probe` for who asks thousands: without a task for each, or any other object."""
        taken = self._echo_turns.take_up_to(len(peers))
        self._shared.echo.send(peers if taken == len(peers) else peers[:taken])
        return peers[taken:]

    def read_replies(self) -> None:
        """What has come already: of near hosts, which have replied before all others were asked, and of those asked
        before. The loop would have to wake for them."""
        self._shared.echo.read()

    async def probe(self, probe: Probe, trace: Trace | None = None) -> Outcome:
        """What the VIM answers. The timeout begins when the probe's turn has come. May be cancelled at any time.

        A `trace` is filled in on the way, however the probe ends. Raises InvalidInput for an auth_url that cannot be
        probed, which `parse_probe` does not let through.
        """
        turns = self._echo_turns if type(probe) is IcmpProbe else self._turns
        began = self._clock() if trace else 0.0
        if not turns.take_now():
            queued = self._clock()
            await turns.take()
            self.waits.add(self._clock() - queued)
        if trace is not None:
            trace.turn_ms = round((self._clock() - began) * 1000, 3)
        wire = Wire(probe, self._shared, trace)
        try:
            return await KINDS[type(probe)](probe, wire)
        except Trouble as trouble:
            return trouble.outcome
        except TimeoutError:
            return no_answer(probe.timeout_s)
        finally:
            turns.give_back()
            if trace is not None:
                wire.stopped(_phases(probe))

    async def close(self) -> None:
        """Let go of the threads and sockets. Probes that still run are the caller's to cancel first."""
        self._shared.resolver.close()
        self._shared.echo.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _phases(probe: Probe) -> Sequence[str]:
    """Which of a trace's phases a probe goes through, in their order."""
    if isinstance(probe, HttpProbe):
        secured = target_of(probe.auth_url).scheme == "https"
        return ("name", "connect", "tls", "answer") if secured else ("name", "connect", "answer")
    return ("name", "connect") if isinstance(probe, TcpProbe) else ("name", "answer")
