"""Whatever befalls the parts, and in whatever order: nothing stale is stored, no wanted action exits, all settles.

Hypothesis makes up what happens, one step of one part at a time where it wants to; then all faults end, and the world
must settle. VIMMON_TEST_MODEL_EXAMPLES=5000 runs it for long, with other examples each time.
"""

import os
from functools import partial
from itertools import cycle

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.model.clockwork import Process
from tests.model.executor import Executor
from tests.model.parts import KEYS
from tests.model.world import World
from vimmon.vim import VimStatus

EXAMPLES = os.environ.get("VIMMON_TEST_MODEL_EXAMPLES")
pytestmark = [pytest.mark.timeout(0)] if EXAMPLES else []
VIMS_MAX = 3
EXECUTORS_MAX = 3
ANY = st.integers(0, 50)  # which of those that there are
SECONDS = st.sampled_from([0.1, 0.6, 2.0, 7.0, 12.0, 33.0, 70.0, 140.0])
GARBAGE = ["", "x", "1:", "0:x", "0:0:PENDING:x", "999999999:x", "999999999:1:UNKNOWN:x"]
PACE_S = st.sampled_from([0.0, 0.1, 0.7, 5.0, 15.0, 65.0])
FAULT_S = st.sampled_from([1.0, 8.0, 25.0, 45.0, 130.0, 600.0])
FOUND = st.sampled_from([VimStatus.REACHABLE, VimStatus.UNREACHABLE])


class Protocol(RuleBasedStateMachine):
    @initialize(
        executors=st.integers(1, EXECUTORS_MAX),
        conductors=st.integers(1, 2),
        reconcilers=st.integers(1, 2),
        vims=st.integers(1, VIMS_MAX),
        paces=st.lists(PACE_S, min_size=3, max_size=3),
    )
    def begin(self, executors: int, conductors: int, reconcilers: int, vims: int, paces: list[float]) -> None:
        """`paces`: how much time goes on after one event, the next, and so on."""
        self.paces = cycle(paces)
        self.world = World(executors=executors, conductors=conductors, reconcilers=reconcilers)
        self.backup = self.world.db.backup()
        self.snapshot = self.world.redis.snapshot()
        for _ in range(vims):
            self.world.register()

    def _process(self, which: int) -> Process:
        return self.world.processes[which % len(self.world.processes)]

    def _executor(self, which: int) -> Executor:
        living = [executor for executor in self.world.executors if executor.alive]
        return living[which % len(living)]

    def _vim(self, which: int) -> str:
        vim_ids = sorted(self.world.truth)
        return vim_ids[which % len(vim_ids)]

    def _for(self, seconds: float, part: object, fault: str) -> None:
        setattr(part, fault, True)
        self.world.later(seconds, partial(setattr, part, fault, False))

    # What goes on

    @rule(seconds=SECONDS)
    def time_goes_on(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(which=ANY, task=ANY, steps=st.integers(1, 4))
    def somebody_acts_alone(self, which: int, task: int, steps: int) -> None:
        tasks = list(self.world.tasks_of(self._process(which)))
        if tasks:
            self.world.step(tasks[task % len(tasks)], steps)

    @precondition(lambda self: len(self.world.db.living()) < VIMS_MAX)
    @rule()
    def a_vim_is_registered(self) -> None:
        self.world.register()

    @rule(which=ANY)
    def an_address_is_changed(self, which: int) -> None:
        self.world.change(self._vim(which))

    @rule(which=ANY)
    def a_vim_is_deregistered(self, which: int) -> None:
        self.world.deregister(self._vim(which))

    @rule(which=ANY, found=FOUND)
    def a_vim_becomes(self, which: int, found: VimStatus) -> None:
        self.world.truth[self._vim(which)] = found

    # Processes

    @rule(which=ANY)
    def somebody_is_killed(self, which: int) -> None:
        self.world.kill(self._process(which))

    @rule(which=ANY, seconds=FAULT_S)
    def somebody_is_paused(self, which: int, seconds: float) -> None:
        self._for(seconds, self._process(which), "paused")

    @rule(which=ANY, seconds=FAULT_S)
    def somebody_is_cut_from_redis(self, which: int, seconds: float) -> None:
        self._for(seconds, self._process(which), "cut")

    @rule(which=ANY)
    def an_answer_of_redis_is_lost(self, which: int) -> None:
        self._process(which).deaf = True

    @precondition(lambda self: sum(executor.alive for executor in self.world.executors) < EXECUTORS_MAX)
    @rule()
    def an_executor_comes(self) -> None:
        self.world.new_executor()

    @rule(which=ANY)
    def a_probe_hangs(self, which: int) -> None:
        executor = self.world.executors[which % len(self.world.executors)]
        executor.hung |= {monitor.assignment.action_id for monitor in executor.monitors.values()}

    # Redis, the database, Mistral

    @rule()
    def redis_forgets_all(self) -> None:
        self.world.redis.flush()

    @rule(which=ANY)
    def redis_forgets_a_key(self, which: int) -> None:
        keys = self.world.redis.data.names()
        if keys:
            self.world.redis.delete(keys[which % len(keys)])

    @rule(which=ANY, garbage=st.sampled_from(GARBAGE))
    def redis_has_garbage(self, which: int, garbage: str) -> None:
        """Of a lease, or of a committed status."""
        vim_id = self._vim(which // 2)
        self.world.redis.set(KEYS.lease(vim_id) if which % 2 else KEYS.status(vim_id), garbage)

    @rule()
    def a_replica_is_up_to_date(self) -> None:
        self.snapshot = self.world.redis.snapshot()

    @rule()
    def the_replica_takes_over(self) -> None:
        self.world.redis.restart(self.snapshot)
        self.snapshot = self.world.redis.snapshot()

    @rule(seconds=FAULT_S)
    def redis_is_away(self, seconds: float) -> None:
        self._for(seconds, self.world.redis, "away")

    @rule()
    def the_database_is_backed_up(self) -> None:
        self.backup = self.world.db.backup()

    @rule()
    def the_database_is_restored(self) -> None:
        self.world.db.restore(self.backup)

    @rule(seconds=FAULT_S)
    def the_database_is_away(self, seconds: float) -> None:
        self._for(seconds, self.world.db, "away")

    @rule(seconds=FAULT_S)
    def mistral_is_away(self, seconds: float) -> None:
        self._for(seconds, self.world.mistral, "away")

    @rule(delay_s=st.sampled_from([0.5, 20.0, 70.0, 200.0]), copies=st.sampled_from([1, 2, 0]))
    def mistral_begins_actions(self, delay_s: float, copies: int) -> None:
        self.world.mistral.delay_s, self.world.mistral.copies = delay_s, copies

    # Requests and jobs

    @precondition(lambda self: self.world.redis.range(KEYS.requests))
    @rule(fate=st.sampled_from(["lost", "doubled", "last"]))
    def the_next_request_is(self, fate: str) -> None:
        first, *others = self.world.redis.range(KEYS.requests)
        left = {"lost": others, "doubled": [first, *others, first], "last": [*others, first]}[fate]
        self.world.redis.put(KEYS.requests, left)

    @precondition(lambda self: self.world.redis.data.jobs)
    @rule(which=ANY, fate=st.sampled_from(["lost", "doubled", "late"]))
    def a_job_is(self, which: int, fate: str) -> None:
        job_ids = sorted(self.world.redis.data.jobs)
        job_id = job_ids[which % len(job_ids)]
        if fate == "lost":
            del self.world.redis.data.jobs[job_id]
        elif fate == "doubled":
            self.world.run_twice(job_id)
        else:
            self.world.redis.data.jobs[job_id].due = self.world.now() + 90

    # What must hold

    @invariant()
    def no_goal_is_missed(self) -> None:
        if hasattr(self, "world"):
            self.world.run(next(self.paces))
            assert not self.world.violations, self._story()

    def teardown(self) -> None:
        if not hasattr(self, "world") or self.world.violations:
            return
        self.world.settle()
        if not self.world.violations:
            self.world.stay()
        assert not self.world.violations, self._story()

    def _story(self) -> str:
        return "\n".join(["", *self.world.log[-80:], "MISSED:", *self.world.violations])


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(
    max_examples=int(EXAMPLES or 40),
    stateful_step_count=40,
    deadline=None,
    derandomize=EXAMPLES is None,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
