"""The reconciler on a real Redis and a real database: what it mends, and what it leaves alone."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from tests.integration.bench import Bench, update_vim
from tests.integration.passes import EXECUTOR, HOLDER, Pass, alive, tokyo_of
from vimmon.conductor.plan import Plan
from vimmon.lease.model import Lease
from vimmon.mistral.queue import START, STOP, SWEEP, JobQueue
from vimmon.registry.repair import Repair
from vimmon.vim import Vim


def jobs(bench: Bench) -> list[tuple[str | None, list[object]]]:
    """Those that start and stop monitors."""
    queued = [(job.func_name, list(job.args)) for job in JobQueue(bench.redis, name="vimmon").queue.get_jobs()]
    return [job for job in queued if job[0] != SWEEP]


@pytest.fixture
def tokyo(bench: Bench) -> Vim:
    return tokyo_of(bench)


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


def test_a_monitor_that_was_awaited_counts_as_arrived_though_nothing_is_to_be_done_for_it(bench: Bench) -> None:
    """How fast monitors arrive says how long a start may take."""
    run = Pass(bench).settled()
    osaka = bench.registered("osaka")
    bench.vims.record_execution(osaka.id, generation=1, execution_id=osaka.action_id or "")
    run()
    assert run.reconciler._memory.pace.awaited == {osaka.id}
    bench.ask(update_vim(osaka, seq=1, holder=HOLDER))
    alive(bench, **{osaka.id: f"1:{osaka.action_id}"})
    run()
    assert run.reconciler._memory.pace.arrivals_per_s > 0


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
