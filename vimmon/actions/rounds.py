"""Has each VIM probed when its time has come, one probe of each at a time, and tells what was found.

VIMs that are asked by icmp, at addresses that are known, are asked together and without tasks; and as long as they
reply as before, and nobody is in doubt, that is counted and no more, and told to who keeps the figures once in a turn.
So an executor that holds thousands has time left: between two slots its code leaves the processor's cache, and each
further function that is called in a slot costs as much as some probes.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from vimmon.actions.metrics import Metrics
from vimmon.actions.presence import Presence
from vimmon.actions.probing import Prober
from vimmon.actions.probing.echo_peer import Peer
from vimmon.actions.probing.icmp import outcome_of, reply_reason
from vimmon.actions.probing.reasons import Trouble, whole_ms
from vimmon.actions.running import Running
from vimmon.actions.suspicion import Suspicion
from vimmon.actions.wheel import Entry, Wheel
from vimmon.health import Health
from vimmon.probes import IcmpProbe, Outcome, Probe

SLOTS_A_TURN = 20
ALONE_SHARE = 0.1  # of the probes that are due, while nobody can be told what they find

Ended = Callable[[str, Outcome | Exception], None]


@dataclass(slots=True, eq=False, kw_only=True)
class _Watched(Entry):
    """A VIM, under its id. `peer`: who is asked by icmp, right until `peer_until`. `settled`: one more reply changes
    nothing but how long it took. `reply_s`: that of the last one which was only counted, until somebody asks."""

    probe: Probe
    peer: Peer | None = None
    peer_until: float = 0.0
    settled: bool = False
    reply_s: float | None = None


class Rounds:
    """Make it inside the loop. `ended` is told of each probe that was not cancelled: its outcome, or the bug in it; but
    of those that only found again what was found before, `counted` tells who asks."""

    def __init__(
        self,
        prober: Prober,
        presence: Presence,
        metrics: Metrics,
        suspicion: Suspicion,
        *,
        rng: random.Random,
        ended: Ended,
    ) -> None:
        self._prober = prober
        self._presence = presence
        self._metrics = metrics
        self._suspicion = suspicion
        self._ended = ended
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._asker = prober.asker(self._replied, self._failed)
        self._wheel = Wheel(rng=rng)
        self._running = Running()
        self._watched: dict[str, _Watched] = {}
        self._wanted: list[str] | None = None  # who is to be asked as soon as those that are due have been asked
        self._late_s: list[float] = []  # these are yet to be told: how late probes began
        self._took_s: list[float] = []  # how long replies took that were only counted
        self._seen: list[tuple[list[str], float]] = []  # from whom they came, and when

    @property
    def running(self) -> bool:
        """Whether any probe is under way."""
        return bool(self._running) or any(self._awaits(watched) for watched in self._watched.values())

    def add(self, vim_id: str, probe: Probe) -> None:
        """The first probe comes soon."""
        watched = self._watched[vim_id] = _Watched(key=vim_id, interval_s=probe.interval_s, probe=probe)
        self._wheel.put(watched, self._clock(), soon=True)

    def remove(self, vim_id: str) -> None:
        self.tell_counts()  # nobody is told of it when it is gone
        watched = self._watched.pop(vim_id)
        self._wheel.remove(vim_id)
        self._running.cancel(vim_id)
        watched.settled = False
        if watched.peer is not None:
            watched.peer.cancel()

    def settle(self, vim_id: str, *, settled: bool) -> None:
        """Whether one more success would change nothing but the reason."""
        self._watched[vim_id].settled = settled and self._suspicion.was_reached(vim_id)

    def counted(self, vim_id: str) -> str | None:
        """The reason of the last success that was only counted. None: that was told, or asked for, already."""
        watched = self._watched[vim_id]
        if watched.reply_s is None:
            return None
        reason, watched.reply_s = reply_reason(whole_ms(watched.reply_s)), None
        return reason

    def follow(self, vim_id: str, health: Health) -> None:
        """Has the next probe come as soon as this health wants it."""
        probe = self._watched[vim_id].probe
        if health.confirming or self._wheel.interval_s(vim_id) != probe.interval_s:
            interval_s = probe.confirm_interval_s if health.confirming else probe.interval_s
            self._wheel.reschedule(vim_id, interval_s, self._clock())

    async def turn(self, slot: Callable[[], None]) -> None:
        """Has `slot` called when each slot of the wheel begins, SLOTS_A_TURN times; raises what it raises. By timers:
        to wake a task for each slot would cost as much as some probes. Then tells what was counted meanwhile."""
        ended: asyncio.Future[None] = self._loop.create_future()
        timer: asyncio.TimerHandle
        left = SLOTS_A_TURN

        def begin() -> None:
            nonlocal left, timer
            left -= 1
            try:
                slot()
            except Exception as bug:  # noqa: BLE001  # raised by who awaits
                ended.set_exception(bug)
                return
            if left:
                timer = self._loop.call_at(self._next_slot(), begin)
            else:
                ended.set_result(None)

        timer = self._loop.call_at(self._next_slot(), begin)
        try:
            await ended
        finally:
            timer.cancel()
            self.tell_counts()

    def tell_counts(self) -> None:
        """Tells metrics and presence what was counted since this was last done: at the end of each turn, and when the
        figures are wanted."""
        late_s, took_s, seen = self._late_s, self._took_s, self._seen
        self._late_s, self._took_s, self._seen = [], [], []
        self._metrics.began(late_s)
        if took_s:
            self._metrics.saw_again("icmp", took_s)
        for vim_ids, at in seen:
            self._presence.saw(vim_ids, at)

    def _next_slot(self) -> float:
        now = self._clock()
        return now + self._wheel.wait_s(now)

    def begin(self, *, alone: bool) -> None:
        """Begins the probes that are due, a part of them while this executor is `alone`."""
        fired, late_s = self._wheel.fire(self._clock())
        due = cast(list[_Watched], fired)  # nothing else is put into this wheel
        if alone:
            due, late_s = self._some_of(due, late_s)
        self._late_s += late_s
        wanted: list[str] = []
        self._wanted = wanted
        try:
            self._ask(due)
        finally:
            self._wanted = None
        if wanted:
            asked = {each.key for each in due}
            for vim_id in wanted:
                if vim_id not in asked:
                    self._start(vim_id)
        self._prober.read_replies()

    def start(self, vim_id: str) -> None:
        """A probe now, unless one is under way. What is told of one whose request cannot even be sent may lead here
        while others are about to be asked: nobody is asked twice."""
        if self._wanted is None:
            self._start(vim_id)
        else:
            self._wanted.append(vim_id)

    def _some_of(self, due: list[_Watched], late_s: list[float]) -> tuple[list[_Watched], list[float]]:
        some: list[tuple[_Watched, float]] = []
        for each, each_s in zip(due, late_s, strict=True):
            if self._rng.random() < ALONE_SHARE:
                some.append((each, each_s))
            elif not self._awaits(each):
                self._presence.saw([each.key], self._clock())  # left out on purpose: it does not hang
        return [each for each, _ in some], [each_s for _, each_s in some]

    def _ask(self, watched: Sequence[_Watched]) -> None:
        now, several = self._clock(), len(self._running) > 0
        peers = []
        for each in watched:
            peer = each.peer
            if peer is None or each.peer_until <= now or (several and each.key in self._running):
                self._start(each.key)
            elif peer.socket is None:
                peers.append(peer)
        if peers and (waits := set(self._prober.ask(peers))):
            for each in watched:
                if each.peer in waits:
                    self._probe(each)

    def _start(self, vim_id: str) -> None:
        watched = self._watched.get(vim_id)
        if watched is None or self._awaits(watched):
            return
        if isinstance(watched.probe, IcmpProbe) and watched.peer_until <= self._clock():
            found = self._prober.peer(watched.probe, self._asker, watched)
            watched.peer, watched.peer_until = found or (None, 0.0)
        if watched.peer is None or self._prober.ask([watched.peer]):
            self._probe(watched)

    async def end(self) -> None:
        """Cancels all probes, and waits until they have ended."""
        for watched in self._watched.values():
            if watched.peer is not None:
                watched.peer.cancel()
        await self._running.end()

    def _probe(self, watched: _Watched) -> None:
        begin, ended = partial(self._prober.probe, watched.probe), partial(self._ended, watched.key)
        self._running.start(watched.key, begin, ended)

    def _awaits(self, watched: _Watched) -> bool:
        return watched.key in self._running or (watched.peer is not None and watched.peer.socket is not None)

    def _replied(self, peers: Sequence[Peer], at: float) -> None:
        """Of peers that replied. What changes nothing is counted."""
        again: list[str] = []
        took_s: list[float] = []
        calm = self._suspicion.calm
        for peer in peers:
            watched, reply_s = peer.of, peer.rtt_s
            if calm and watched.settled:
                watched.reply_s = reply_s
                took_s.append(reply_s)
                again.append(watched.key)
            else:
                self._tell(watched, reply_s)
                calm = self._suspicion.calm
        if again:
            self._suspicion.reached_again(again)
            self._took_s += took_s
            self._seen.append((again, at))

    def _failed(self, peer: Peer, why: Exception | None) -> None:
        if why is None or isinstance(why, OSError | Trouble):
            self._tell(peer.of, why)
        else:
            self._ended(peer.of.key, why)  # a bug

    def _tell(self, watched: _Watched, found: float | OSError | Trouble | None) -> None:
        try:
            self._ended(watched.key, outcome_of(watched.probe.timeout_s, found))
        except Exception as bug:  # noqa: BLE001  # keeps nothing from the others
            self._loop.call_exception_handler({"message": "a bug in who was told of a probe", "exception": bug})
