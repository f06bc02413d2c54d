"""One reconciler, driven a pass at a time, on a real Redis and a real database; and what an executor would write."""

import time
from typing import Any, cast

from tests.integration.bench import Bench, update_vim
from vimmon.conductor.plan import Plan
from vimmon.conductor.reconcile import Reconciler
from vimmon.mistral.queue import JobQueue
from vimmon.registry.repair import Repair
from vimmon.settings import Settings
from vimmon.vim import Vim

EXECUTOR = "executor-1:42:aa"
HOLDER = f"{EXECUTOR}:bb"


class Clock:
    """The reconciler's own time; the database's and Redis's go on by themselves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pass:
    """One reconciler, driven a pass at a time."""

    def __init__(self, bench: Bench, *, name: str = "reconciler-1", **settings: float) -> None:
        self.bench = bench
        self.clock = Clock()
        self.reconciler = Reconciler(
            redis=bench.redis,
            leases=bench.leases,
            jobs=JobQueue(bench.redis, name="vimmon"),
            repair=Repair(bench.engine),
            settings=Settings.model_validate(settings),
            name=name,
            clock=self.clock,
        )

    def __call__(self, *, after_s: float = 10) -> Plan:
        self.clock.now += after_s
        self._age_what_redis_remembers(after_s)
        found = self.reconciler.run_once()
        assert found is not None
        return found

    def _age_what_redis_remembers(self, by_s: float) -> None:
        """Redis has a clock of its own, which a test cannot advance."""
        redis, key = self.bench.redis, self.bench.keys.epoch
        if redis.type(key) == b"string":
            run_id, _, since_ms = cast(bytes, redis.get(key)).decode().partition(":")
            redis.set(key, f"{run_id}:{int(since_ms) - round(by_s * 1000)}")
        self.reconciler._lookout._stuck_looked_s -= by_s

    def settled(self) -> "Pass":
        """With the first passes behind it: it knows the epoch, and has waited until it believes what it sees."""
        self()
        self(after_s=61)
        return self


def alive(bench: Bench, executor: str = EXECUTOR, **held: str) -> None:
    """An executor's heartbeat, with what it holds."""
    bench.redis.zadd(bench.keys.executors, {executor: time.time()})
    bench.redis.hset(bench.keys.executor(executor), mapping={"held_rev": str(time.time_ns())})
    bench.redis.pexpire(bench.keys.executor(executor), 30_000)
    bench.redis.delete(bench.keys.held(executor))
    if held:
        bench.redis.hset(bench.keys.held(executor), mapping=dict[Any, Any](held))


def watched(bench: Bench, name: str = "tokyo") -> Vim:
    """A VIM whose monitor runs and has said REACHABLE."""
    vim = bench.registered(name)
    bench.vims.record_execution(vim.id, generation=1, execution_id=vim.action_id or "")
    bench.ask(update_vim(vim, seq=1, holder=HOLDER))
    return vim


def tokyo_of(bench: Bench) -> Vim:
    """A VIM that is watched as it should be."""
    vim = watched(bench)
    alive(bench, **{vim.id: f"1:{vim.action_id}"})
    return vim
