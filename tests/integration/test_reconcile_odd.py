"""The reconciler and what is odd: what hangs, clocks that step, rows and keys that nobody would expect."""

import threading
import time
from dataclasses import replace
from typing import cast

import pytest
from sqlalchemy import text

from tests.integration.bench import Bench
from tests.integration.passes import EXECUTOR, HOLDER, Pass, alive, tokyo_of, watched
from tests.support.polling import until
from vimmon import Registry
from vimmon.conductor.plan import Memory
from vimmon.lease.model import Lease
from vimmon.mistral.queue import JobQueue
from vimmon.registry.repair import Repair
from vimmon.vim import Vim

GARBAGE_LEASE = "999999999999999:x"


@pytest.fixture
def tokyo(bench: Bench) -> Vim:
    return tokyo_of(bench)


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
    assert run.reconciler._lookout.look().stuck == {EXECUTOR: {}}


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


def test_a_heartbeat_that_would_never_expire_is_none(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    bench.redis.persist(bench.keys.executor(EXECUTOR))
    run()
    assert [restart.vim_id for restart in run().restarts] == [tokyo.id]


def test_a_conductor_that_no_heartbeat_keeps_answers_nobody(bench: Bench, tokyo: Vim) -> None:
    lookout = Pass(bench).reconciler._lookout
    bench.redis.zadd(bench.keys.conductors, {"dead": 1, "living": 2})
    bench.redis.hset(bench.keys.conductor("living"), mapping={"host": "h"})
    assert lookout.look().conductors == 1


def test_what_was_remembered_before_the_turn_was_lost_says_nothing_afterwards(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    bench.redis.delete(bench.keys.executor(EXECUTOR))
    run()
    assert run.reconciler._memory.missing
    bench.redis.set(bench.keys.reconciler, "another", px=30_000)
    assert run.reconciler.run_once() is None
    assert run.reconciler._memory == Memory()


def test_what_a_pass_itself_takes_is_no_outage(bench: Bench, tokyo: Vim) -> None:
    run = Pass(bench).settled()
    bench.redis.delete(bench.keys.executor(EXECUTOR))
    sweep = run.reconciler._sweep_mistral

    def long_sweep() -> None:
        sweep()
        run.clock.now += 300

    run.reconciler._sweep_mistral = long_sweep  # type: ignore[method-assign]
    run()
    assert [restart.vim_id for restart in run().restarts] == [tokyo.id]


def test_what_is_unknown_already_or_deregistered_is_not_said_to_be_unknown(bench: Bench, tokyo: Vim) -> None:
    repair = Repair(bench.engine)
    assert repair.unwatched(tokyo.id, generation=1, seq=1, reason="nobody has watched it")
    assert not repair.unwatched(tokyo.id, generation=1, seq=1, reason="nobody has watched it")
    assert bench.changes(tokyo) == ["REACHABLE", "UNKNOWN"]
    osaka = watched(bench, "osaka")
    bench.vims.deregister(osaka.id)
    generation = bench.row(osaka)["generation"]
    assert not repair.unwatched(osaka.id, generation=generation, seq=bench.row(osaka)["status_seq"], reason="")
    assert bench.changes(osaka) == ["REACHABLE"]


def test_a_vim_that_comes_back_after_its_row_is_gone_overtakes_the_tombstone_in_redis(bench: Bench) -> None:
    vim = bench.registered()
    gone = bench.vims.deregister(vim.id)
    bench.leases.grant(vim.id, Lease(gone.generation, None))
    bench.vims.record_clean(vim.id)
    assert bench.vims.purge(history_days=1, purge_after_s=-1).vims == 1
    registry = Registry(bench.vims, bench.leases, JobQueue(bench.redis, name="vimmon"))
    assert registry.register("tokyo", "http://192.0.2.1:5000/v3", vim_id=vim.id).vim.generation == 1
    assert bench.redis.get(bench.keys.lease(vim.id)) == b"2:-"
    run = Pass(bench)
    for _ in range(2):
        run()
    now = bench.vims.get(vim.id)
    assert now.generation == 3
    assert bench.redis.get(bench.keys.lease(vim.id)) == f"3:{now.action_id}".encode()
