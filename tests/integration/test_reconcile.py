"""The reconciler on a real Redis and a real database: what it mends, and what it leaves alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import pytest
from sqlalchemy import text

from tests.integration.bench import Bench, update_vim
from tests.support.polling import until
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
    assert run(after_s=61).restarts == [], "it is late, but not for so long"
    bench.redis.hset(bench.keys.seen(EXECUTOR), mapping={tokyo.id: f"{now - 400:.3f}"})
    assert len(run(after_s=61).restarts) == 1


def test_what_hangs_elsewhere_is_not_this_monitor(bench: Bench, tokyo: Vim) -> None:
    """An older monitor of the VIM that hung, in an executor that lives."""
    run = Pass(bench).settled()
    alive(bench, "executor-2:7:bb", **{tokyo.id: "0:older"})
    now = bench.leases.now_ms() / 1000
    bench.redis.hset(bench.keys.seen("executor-2:7:bb"), mapping={tokyo.id: f"{now - 400:.3f}"})
    assert run(after_s=61).restarts == []


def test_when_the_clock_of_redis_is_set_back_nobody_is_believed_dead_for_a_minute(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    assert not run().holding
    run_id, _, _ = cast(bytes, bench.redis.get(bench.keys.epoch)).decode().partition(":")
    bench.redis.set(bench.keys.epoch, f"{run_id}:{bench.leases.now_ms() + 3_600_000}")
    assert run().holding
    assert not run(after_s=61).holding


def test_what_was_seen_to_hang_hangs_until_the_next_look_but_not_its_successor(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    now = bench.leases.now_ms() / 1000
    bench.redis.hset(bench.keys.seen(EXECUTOR), mapping={tokyo.id: f"{now - 400:.3f}"})
    run.reconciler._memory = replace(
        run.reconciler._memory, hold_until=run.clock.now + 1000
    )  # it may restart nobody yet
    assert (run(after_s=61).postponed, run().postponed) == (1, 1)
    alive(bench, **{tokyo.id: "2:next"})
    assert run.reconciler._lookout.look([tokyo.id]).stuck == {EXECUTOR: {}}


def test_when_the_clock_of_redis_is_set_forward_nobody_hangs_for_that(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    bench.redis.hset(bench.keys.seen(EXECUTOR), mapping={tokyo.id: f"{bench.leases.now_ms() / 1000 - 3600:.3f}"})
    lookout = run.reconciler._lookout
    lookout._ahead_s = cast(float, lookout._ahead_s) - 3600  # by so much its clock has moved since the last pass
    found = run(after_s=61)
    assert (found.restarts, found.holding) == ([], True)
    assert run().restarts == [], "its executor has yet to say by the new clock when it looked"
    assert not run(after_s=61).holding


@pytest.mark.parametrize("key", ["executors", "conductors", "reconciler"])
def test_a_key_of_another_type_is_deleted_where_an_index_must_be(bench: Bench, tokyo: Vim, key: str) -> None:
    run = Pass(bench, reconcile_interval_s=0.05).settled()
    name = getattr(bench.keys, key)
    bench.redis.delete(name)
    bench.redis.hset(name, "x", "y")
    stop = threading.Event()
    thread = threading.Thread(target=run.reconciler.run, args=[stop])
    thread.start()
    try:
        until(lambda: bench.redis.type(name) != b"hash")
    finally:
        stop.set()
        thread.join(10)


def test_one_odd_row_stops_no_repair_of_the_others(bench: Bench, tokyo: Vim, caplog: pytest.LogCaptureFixture) -> None:
    """An id that is no name of a job, among those whose start never got to Mistral."""
    osaka = watched(bench, "osaka")
    run = Pass(bench).settled()
    with bench.engine.begin() as connection:
        connection.execute(text("UPDATE vims SET holder = NULL, execution_id = NULL, awaited_since = '2020-01-01'"))
        connection.execute(text("UPDATE vims SET id = 'odd:one' WHERE name = 'tokyo'"))
    run()
    assert [job.args for job in run.reconciler._jobs.queue.get_jobs() if job.args] == [[osaka.id, osaka.generation]]
    assert "repair_failed vim_id=odd:one" in caplog.text


def test_a_type_of_another_version_among_what_hangs_stops_no_pass(bench: Bench, tokyo: Vim) -> None:
    osaka = watched(bench, "osaka")
    alive(bench, **{vim.id: f"1:{vim.action_id}" for vim in (tokyo, osaka)})
    run = Pass(bench).settled()
    with bench.engine.begin() as connection:
        connection.execute(text("UPDATE vims SET type = 'of-the-future' WHERE name = 'tokyo'"))
    now = bench.leases.now_ms() / 1000
    bench.redis.hset(bench.keys.seen(EXECUTOR), mapping={vim.id: f"{now - 400:.3f}" for vim in (tokyo, osaka)})
    assert [restart.vim_id for restart in run(after_s=61).restarts] == [osaka.id]


def test_a_start_of_a_time_to_come_is_one_of_the_past(bench: Bench) -> None:
    """The database's clock was set back."""
    vim = bench.registered()
    run = Pass(bench).settled()
    with bench.engine.begin() as connection:
        connection.execute(text("UPDATE vims SET awaited_since = '2999-01-01'"))
    run()
    assert [job.args for job in run.reconciler._jobs.queue.get_jobs() if job.args] == [[vim.id, 1]]


def test_a_slow_probe_is_not_a_monitor_that_hangs(bench: Bench) -> None:
    vim = watched(bench)
    with bench.engine.begin() as connection:
        probe = '{"kind": "tcp", "interval_s": 3600}'
        connection.execute(text("UPDATE vims SET probe = :probe"), {"probe": probe})
    alive(bench, **{vim.id: f"1:{vim.action_id}"})
    run = Pass(bench).settled()
    now = bench.leases.now_ms() / 1000
    for idle_s, restarts in ((4000, 0), (11_000, 1)):
        bench.redis.hset(bench.keys.seen(EXECUTOR), mapping={vim.id: f"{now - idle_s:.3f}"})
        assert len(run(after_s=61).restarts) == restarts


def test_a_probe_of_another_version_stops_no_pass(bench: Bench, tokyo: Vim) -> None:
    with bench.engine.begin() as connection:
        connection.execute(text("UPDATE vims SET probe = '{\"kind\": \"of-the-future\"}', status = 'NEW'"))
    now = bench.leases.now_ms() / 1000
    bench.redis.hset(bench.keys.seen(EXECUTOR), mapping={tokyo.id: f"{now - 9000:.3f}"})
    run = Pass(bench).settled()
    assert run(after_s=61).restarts == []


def test_what_an_executor_holds_is_read_again_when_it_says_so(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    bench.redis.hset(bench.keys.held(EXECUTOR), mapping={tokyo.id: "1:another"})
    assert run().restarts == [], "the same revision: it is not read again"
    bench.redis.hset(bench.keys.executor(EXECUTOR), mapping={"held_rev": "next"})
    assert [restart.to for restart in run().restarts] == [2]


def test_a_list_that_redis_lost_is_read_again_though_its_revision_is_the_same(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    bench.redis.delete(bench.keys.held(EXECUTOR))
    run()
    assert len(run().restarts) == 1


def test_a_restart_forgets_the_execution_of_the_old_action_and_leaves_the_deregistered_alone(
    bench: Bench, tokyo: Vim
) -> None:
    repair = Repair(bench.engine)
    assert repair.restart(tokyo.id, generation=1, to=2, action_id="a2", reason="", in_vain=False)
    assert bench.row(tokyo)["execution_id"] is None
    bench.vims.deregister(tokyo.id)
    assert not repair.restart(tokyo.id, generation=3, to=4, action_id="a4", reason="", in_vain=False)
    assert bench.row(tokyo)["action_id"] is None


def test_an_unwatched_vim_is_announced(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench, start_grace_s=10_000).settled()
    alive(bench)
    for _ in range(13):
        run()
    events = [fields[b"new"] for _, fields in cast(list[Any], bench.redis.xrange(bench.keys.events))]
    assert events[-1] == b"UNKNOWN"


def test_two_reconcilers_whose_passes_are_long_do_not_take_turns_in_the_middle(bench: Bench, tokyo: Vim) -> None:
    """What a reconciler has in hand prolongs its turn."""
    run = Pass(bench).settled()
    bench.redis.pexpire(bench.keys.reconciler, 1000)
    run.reconciler._keep_turn()
    assert bench.redis.pttl(bench.keys.reconciler) > 20_000


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


GARBAGE_LEASE = "999999999999999:x"


@pytest.mark.parametrize("where", ["lease", "held", "status"])
def test_a_generation_that_leaps_too_far_is_garbage_and_heals(bench: Bench, tokyo: Vim, where: str) -> None:
    run = Pass(bench).settled()
    if where == "held":
        alive(bench, **{tokyo.id: GARBAGE_LEASE})
    elif where == "lease":
        bench.redis.set(bench.keys.lease(tokyo.id), GARBAGE_LEASE)
    else:
        bench.redis.set(bench.keys.status(tokyo.id), f"1:999999999999999:UNREACHABLE:{HOLDER}")
    for _ in range(3):
        run()
    row = bench.row(tokyo)
    assert row["generation"] <= 2
    assert bench.redis.get(bench.keys.lease(tokyo.id)) == f"{row['generation']}:{row['action_id']}".encode()
    if where == "status":
        assert bench.redis.get(bench.keys.status(tokyo.id)) == f"1:1:REACHABLE:{HOLDER}".encode()


def test_a_lock_that_would_never_expire_is_nobodys(bench: Bench, tokyo: Vim) -> None:
    bench.redis.set(bench.keys.reconciler, "x")
    assert Pass(bench)() is not None


@pytest.mark.parametrize("key", ["epoch", "executor", "held", "seen", "stranger"])
def test_rubbish_in_redis_stops_no_pass(bench: Bench, tokyo: Vim, key: str) -> None:
    other = watched(bench, "osaka")
    alive(bench, "executor-2:1:cc", **{other.id: f"1:{other.action_id}"})
    run = Pass(bench).settled()
    if key == "stranger":
        bench.redis.zadd(bench.keys.executors, {b"\xff\xfe": time.time()})
    else:
        odd = {"epoch": bench.keys.epoch, "executor": bench.keys.executor(EXECUTOR)}
        odd |= {"held": bench.keys.held(EXECUTOR), "seen": bench.keys.seen(EXECUTOR)}
        bench.redis.delete(odd[key])
        bench.redis.rpush(odd[key], "rubbish")
    for _ in range(3):
        run(after_s=61)
    assert bench.row(other)["generation"] == 1
