"""The reconciler on a real Redis and a real database: what it mends, and what it leaves alone."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.bench import Bench, update_vim
from vimmon.conductor.plan import Plan
from vimmon.conductor.reconcile import Reconciler
from vimmon.lease.model import Lease
from vimmon.mistral.queue import START, STOP, SWEEP, JobQueue
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
        found = self.reconciler.run_once()
        assert found is not None
        return found

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


def jobs(bench: Bench) -> list[tuple[str | None, list[object]]]:
    """Those that start and stop monitors."""
    queued = [(job.func_name, list(job.args)) for job in JobQueue(bench.redis, name="vimmon").queue.get_jobs()]
    return [job for job in queued if job[0] != SWEEP]


@pytest.fixture
def tokyo(bench: Bench) -> Vim:
    vim = watched(bench)
    alive(bench, **{vim.id: f"1:{vim.action_id}"})
    return vim


def test_where_all_is_well_nothing_is_done(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    before = bench.row(tokyo)
    assert run() == Plan()
    assert bench.row(tokyo) == before
    assert jobs(bench) == []


def test_the_vims_of_a_dead_executor_get_another_action_and_keep_their_status(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    bench.redis.delete(bench.keys.executor(EXECUTOR))
    assert run().restarts == []
    assert len(run().restarts) == 1
    row = bench.row(tokyo)
    assert (row["generation"], row["status"], row["status_seq"], row["holder"]) == (2, "REACHABLE", 0, None)
    assert row["action_id"] != tokyo.action_id
    assert bench.redis.get(bench.keys.lease(tokyo.id)) == f"2:{row['action_id']}".encode()
    assert jobs(bench) == [(START, [tokyo.id, 2]), (STOP, [tokyo.id, tokyo.action_id])]
    assert bench.ask(update_vim(tokyo, "UNREACHABLE", seq=9, holder=HOLDER))["result"] == {"status": "bad_action"}


def test_what_redis_lost_is_written_anew_and_nothing_is_restarted(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    wanted = {key: bench.redis.get(key) for key in (bench.keys.lease(tokyo.id), bench.keys.status(tokyo.id))}
    bench.redis.flushall()
    for _ in range(4):
        assert run().restarts == []
    assert {key: bench.redis.get(key) for key in wanted} == wanted
    alive(bench, **{tokyo.id: f"1:{tokyo.action_id}"})
    for _ in range(10):
        assert run().restarts == []
    assert bench.row(tokyo)["generation"] == 1


def test_after_a_flush_a_vim_whose_executor_does_not_come_back_is_restarted_a_minute_later(
    bench: Bench, tokyo: Vim
) -> None:
    run = Pass(bench).settled()
    bench.redis.flushall()
    waited = 0
    while not run().restarts:
        waited += 10
    assert 50 <= waited <= 70


@pytest.mark.parametrize("lease", ["garbage", "0:old"])
def test_a_lease_that_says_something_else_is_corrected(bench: Bench, tokyo: Vim, lease: str) -> None:
    run = Pass(bench).settled()
    bench.redis.set(bench.keys.lease(tokyo.id), lease)
    assert run().restarts == []
    assert bench.redis.get(bench.keys.lease(tokyo.id)) == f"1:{tokyo.action_id}".encode()


@pytest.mark.parametrize("ahead", [Lease(5, "of-a-later-database"), Lease(5, None), Lease(1, "another")])
def test_a_lease_ahead_of_a_restored_database_is_overtaken_once(bench: Bench, tokyo: Vim, ahead: Lease) -> None:
    run = Pass(bench).settled()
    bench.redis.set(bench.keys.lease(tokyo.id), str(ahead))
    assert [restart.to for restart in run().restarts] == [ahead.generation + 1]
    row = bench.row(tokyo)
    assert bench.redis.get(bench.keys.lease(tokyo.id)) == f"{ahead.generation + 1}:{row['action_id']}".encode()
    for _ in range(5):  # it is on its way: no endless circle
        assert run().restarts == []
    assert bench.row(tokyo)["generation"] == ahead.generation + 1


def test_a_status_that_the_database_lost_is_asked_for_again(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    bench.redis.set(bench.keys.status(tokyo.id), f"1:9:UNREACHABLE:{HOLDER}")
    run()
    assert bench.redis.get(bench.keys.status(tokyo.id)) is None
    assert bench.row(tokyo)["generation"] == 1


def test_what_nobody_watches_becomes_unknown_and_a_report_under_way_still_wins(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench, start_grace_s=10_000).settled()
    alive(bench)  # it lives, and holds nothing
    for _ in range(13):
        run()
    row = bench.row(tokyo)
    assert row["status"] == "UNKNOWN"
    assert "nobody has watched it for 120 s" in row["reason"]
    assert bench.changes(tokyo)[-1] == "UNKNOWN"
    now = bench.vims.get(tokyo.id)
    assert bench.ask(update_vim(now, "UNREACHABLE", seq=1, holder=HOLDER))["result"] == {"status": "UNREACHABLE"}


def test_a_report_between_the_look_and_the_verdict_keeps_its_status(bench: Bench, tokyo: Vim) -> None:
    seq = bench.row(tokyo)["status_seq"]
    bench.ask(update_vim(tokyo, "UNREACHABLE", seq=2, holder=HOLDER))
    assert not Repair(bench.engine).unwatched(tokyo.id, generation=1, seq=seq, reason="nobody")
    assert bench.row(tokyo)["status"] == "UNREACHABLE"


def test_of_two_reconcilers_one_works_and_the_other_takes_over(bench: Bench, tokyo: Vim) -> None:
    first, second = Pass(bench).settled(), Pass(bench, name="reconciler-2")
    assert second.reconciler.run_once() is None
    bench.redis.delete(bench.keys.reconciler)
    assert second() is not None
    assert first.reconciler.run_once() is None


def test_two_reconcilers_that_conclude_the_same_restart_a_vim_once(bench: Bench, tokyo: Vim) -> None:
    """The lock only saves work: without it the generation grows once all the same."""
    repair = Repair(bench.engine)
    with ThreadPoolExecutor(8) as pool:
        tries = [
            pool.submit(repair.restart, tokyo.id, generation=1, to=2, action_id=f"a{number}", reason="", in_vain=False)
            for number in range(8)
        ]
    assert sum(one.result() for one in tries) == 1
    assert bench.row(tokyo)["generation"] == 2


def test_a_lease_lives_on_as_long_as_its_vim(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    for key in (bench.keys.lease(tokyo.id), bench.keys.status(tokyo.id)):
        bench.redis.pexpire(key, 400_000)
    run(after_s=300)
    assert bench.redis.pttl(bench.keys.lease(tokyo.id)) > 800_000
    assert bench.redis.pttl(bench.keys.status(tokyo.id)) > 800_000


def test_a_deregistered_vim_keeps_its_tombstone_and_is_not_restarted(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    bench.vims.deregister(tokyo.id)
    bench.redis.delete(bench.keys.lease(tokyo.id))
    for _ in range(3):
        assert run().restarts == []
    assert bench.redis.get(bench.keys.lease(tokyo.id)) == b"2:-"


def test_a_monitor_that_hangs_in_a_living_executor_is_restarted(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    now = bench.leases.now_ms() / 1000
    bench.redis.hset(bench.keys.seen(EXECUTOR), mapping={tokyo.id: f"{now - 170:.3f}"})
    assert [run().restarts, run().restarts] == [[], []], "it is late, but not for so long"
    bench.redis.hset(bench.keys.seen(EXECUTOR), mapping={tokyo.id: f"{now - 400:.3f}"})
    assert run().restarts == []
    assert len(run().restarts) == 1


def test_a_slow_probe_is_not_a_monitor_that_hangs(bench: Bench) -> None:
    vim = watched(bench)
    bench.vims.restart(vim.id, expected_generation=1, action_id="a2", probe={"kind": "tcp", "interval_s": 3600})
    alive(bench, **{vim.id: "2:a2"})
    now = bench.leases.now_ms() / 1000
    bench.redis.hset(bench.keys.seen(EXECUTOR), mapping={vim.id: f"{now - 4000:.3f}"})
    run = Pass(bench).settled()
    assert [run().restarts, run().restarts] == [[], []]


def test_mistral_is_searched_every_five_minutes(bench: Bench) -> None:
    run = Pass(bench)
    queue = JobQueue(bench.redis, name="vimmon").queue
    found = []
    for after_s in (10, 10, 280, 10, 300):
        run(after_s=after_s)
        found.append([job.func_name for job in queue.get_jobs()])
        for job in queue.get_jobs():
            job.delete()
    assert found == [[SWEEP], [], [], [SWEEP], [SWEEP]]
