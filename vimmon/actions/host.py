"""All monitors of an executor process: one event loop on one thread, made when the first action arrives.

It takes an assignment on, probes when the wheel says so, checks leases in bulk, and lets go of what is not wanted. What
goes wrong with one monitor is that monitor's trouble alone.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Mapping
from typing import ParamSpec

from redis.asyncio import Redis

from vimmon.actions.asks import Asks
from vimmon.actions.checks import Checks
from vimmon.actions.client import Caller, keep_going, request_ids
from vimmon.actions.metrics import Metrics
from vimmon.actions.monitor import Assignment, Left, Monitor
from vimmon.actions.presence import Presence
from vimmon.actions.probing import Prober
from vimmon.actions.rounds import Rounds
from vimmon.actions.suspicion import Suspicion
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.log import event
from vimmon.messages import Answer, UpdateVim
from vimmon.probes import Outcome, Probe
from vimmon.settings import Settings
from vimmon.vim import VimStatus

log = logging.getLogger(__name__)

ALONE_AFTER_S = 3600.0  # without Redis for so long, there is no hurry to know what nobody can be told

P = ParamSpec("P")
Conclusion = UpdateVim | Left | None


class Host:
    """Make it inside the loop that runs it. `take_on` and all else happens in that loop."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        prober: Prober,
        executor_id: str,
        *,
        rng: random.Random | None = None,
        alone_after_s: float = ALONE_AFTER_S,
    ) -> None:
        """After `alone_after_s` without a heartbeat that Redis took, only a tenth of the probes are made."""
        self._settings = settings
        self._keys = Keys(settings.prefix)
        self._redis = redis
        self._prober = prober
        self._executor_id = executor_id
        self._clock = asyncio.get_running_loop().time
        self._rng = rng = rng or random.Random()  # noqa: S311  # spreads load, guards nothing
        self._alone_after_s = alone_after_s
        self._suspicion = Suspicion(lasting_s=settings.unknown_after_s)
        self._checks = Checks(redis, self._keys, interval_s=settings.check_interval_s, rng=rng)
        self._monitors: dict[str, Monitor] = {}
        self._held: dict[str, Lease] = {}
        self._metrics = Metrics(prober, self._clock)
        self._caller = Caller(
            redis,
            self._keys,
            executor_id,
            self._hear,
            new_id=request_ids(),
            rng=rng,
            request_ttl_s=settings.request_ttl_s,
            requests_max=settings.requests_max,
        )
        self._asks = Asks(redis, self._keys, executor_id, prober, self._probe_of)
        self._presence = Presence(
            redis,
            self._keys,
            executor_id,
            self._held,
            self._figures,
            beat_s=settings.executor_beat_s,
            ttl_s=settings.executor_ttl_s,
            seen_s=settings.check_interval_s,
        )
        self._rounds = Rounds(
            prober,
            self._presence,
            self._metrics,
            self._suspicion,
            rng=rng,
            ended=self._probed,
        )

    @property
    def held(self) -> dict[str, Lease]:
        """What this host watches now."""
        return dict(self._held)

    @property
    def silent_s(self) -> float:
        """How long ago Redis last took a heartbeat; for a new host, since it was made. May be asked by any thread."""
        return self._presence.silent_s

    async def run(self) -> None:
        """Runs until it is cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._caller.run())
                tasks.create_task(self._presence.run())
                tasks.create_task(self._asks.run())
                tasks.create_task(keep_going("probes", self._start_probes))
                tasks.create_task(keep_going("checks", self._check_leases, pause_s=self._checks.pause_s))
        finally:
            await self._rounds.end()

    def take_on(self, assignment: Assignment) -> bool:
        """Begins to watch. False: this action, or a newer one of the VIM, is watched here already."""
        mine = self._monitors.get(assignment.vim_id)
        if mine is not None:
            if mine.assignment.generation >= assignment.generation:
                log.info(
                    event(
                        "assignment_ignored",
                        vim_id=assignment.vim_id,
                        generation=assignment.generation,
                        watched=mine.assignment.generation,
                    )
                )
                return False
            self._let_go(mine, why="a newer action came")
        vim_id = assignment.vim_id
        self._monitors[vim_id] = Monitor(assignment, f"{self._executor_id}:{secrets.token_hex(4)}")
        self._held[vim_id] = Lease(assignment.generation, assignment.action_id)
        self._rounds.add(vim_id, assignment.probe)
        self._checks.add(vim_id)
        self._presence.touch(vim_id)
        log.info(event("monitor_began", vim_id=vim_id, generation=assignment.generation))
        return True

    def _let_go(self, monitor: Monitor, *, why: str) -> None:
        vim_id = monitor.assignment.vim_id
        if self._monitors.get(vim_id) is not monitor:
            return
        del self._monitors[vim_id], self._held[vim_id]
        self._rounds.remove(vim_id)
        self._checks.remove(vim_id)
        self._caller.forget(vim_id)
        self._suspicion.forget(vim_id, self._clock())
        self._metrics.forget(vim_id)
        self._presence.touch(vim_id)
        log.info(event("monitor_left", vim_id=vim_id, generation=monitor.assignment.generation, why=why))

    async def _start_probes(self) -> None:
        await self._rounds.turn(self._begin_slot)

    def _begin_slot(self) -> None:
        self._suspect()
        self._rounds.begin(alone=self._presence.silent_s > self._alone_after_s)

    def _figures(self, oldest_check_s: float | None) -> Mapping[str, bytes]:
        self._rounds.tell_counts()
        return self._metrics.fields(oldest_check_s)

    def _probe_of(self, vim_id: str) -> Probe | None:
        return monitor.assignment.probe if (monitor := self._monitors.get(vim_id)) else None

    def _probed(self, vim_id: str, outcome: Outcome | Exception) -> None:
        monitor = self._monitors.get(vim_id)
        if monitor is None:
            return
        if isinstance(outcome, Exception):
            self._rounds.counted(vim_id)  # it was before the bug
            self._fail(monitor, outcome)
        else:
            self._metrics.saw(vim_id, monitor.assignment.probe.kind, outcome)
            for witness in self._suspicion.saw(vim_id, outcome.status == VimStatus.REACHABLE, self._clock()):
                self._rounds.start(witness)
            self._suspect()
            self._conclude(monitor, monitor.observe, outcome)
        if self._monitors.get(vim_id) is monitor:
            self._presence.saw([vim_id], self._clock())
            self._rounds.follow(vim_id, monitor.health)

    def _suspect(self) -> None:
        """Tells the monitors that are concerned when this prober has become a suspect itself, or is not any more."""
        for vim_id in self._suspicion.reconsider(self._clock()):
            monitor, doubt = self._monitors.get(vim_id), self._suspicion.doubt_of(vim_id)
            if monitor is not None and monitor.doubt != doubt:
                self._conclude(monitor, monitor.doubted, doubt)
        if self._presence.degraded != self._suspicion.degraded:
            self._presence.degraded = self._suspicion.degraded
            now = "prober_degraded" if self._suspicion.degraded else "prober_cleared"
            log.warning(event(now, vims=len(self._monitors)))

    def _hear(self, update: UpdateVim, answer: Answer) -> None:
        monitor = self._monitors.get(update.vim_id)
        if monitor is not None and monitor.assignment.action_id == update.action_id:
            self._conclude(monitor, monitor.answered, update, answer)

    async def _check_leases(self) -> None:
        monitors = self._monitors
        for vim_id, lease, status in await self._checks.due():
            monitor = monitors.get(vim_id)
            if monitor is None:
                continue
            if monitor.knows(lease, status):
                self._checks.expect(vim_id, lease, status)
            else:
                self._conclude(monitor, monitor.read, lease, status)

    def _conclude(self, monitor: Monitor, think: Callable[P, Conclusion], *args: P.args, **kwargs: P.kwargs) -> None:
        """Has a monitor draw its conclusion, and carries it out. A bug in that is the trouble of this one alone."""
        if counted := self._rounds.counted(monitor.assignment.vim_id):
            monitor.observe_again(counted)
        try:
            conclusion = think(*args, **kwargs)
        except Exception as bug:  # noqa: BLE001  # told by `_fail`
            self._fail(monitor, bug)
        else:
            self._act(monitor, conclusion)

    def _fail(self, monitor: Monitor, bug: Exception) -> None:
        """Has the monitor begin anew, and say why. A bug is logged when it begins, and not at every probe."""
        if not monitor.failed:
            assignment = monitor.assignment
            log.error(event("monitor_failed", vim_id=assignment.vim_id, generation=assignment.generation), exc_info=bug)
        self._act(monitor, monitor.fail(bug))

    def _act(self, monitor: Monitor, conclusion: Conclusion) -> None:
        """Carries out what a monitor concluded: say something, leave, or nothing."""
        if self._monitors.get(monitor.assignment.vim_id) is not monitor:
            return
        if isinstance(conclusion, Left):
            self._let_go(monitor, why=conclusion.why)
            return
        if conclusion is not None:
            self._metrics.said(conclusion)
            self._caller.say(conclusion)
        settled = monitor.settled
        if conclusion is not None or not settled:
            self._checks.expect_nothing(monitor.assignment.vim_id)
        self._rounds.settle(monitor.assignment.vim_id, settled=settled)
