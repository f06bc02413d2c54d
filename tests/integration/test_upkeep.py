"""The chores: what they mend, and what they leave alone."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rq.job import JobStatus

from tests.integration.bench import Bench, update_vim, upkeep
from tests.support.polling import until
from vimmon.conductor.presence import Presence
from vimmon.lease.commands import Commands
from vimmon.mistral.queue import START, STOP, JobQueue


def test_a_batch_of_a_conductor_without_heartbeat_comes_back_in_its_order(bench: Bench) -> None:
    bench.push(b"1", b"2", b"3")
    batch = bench.requests.take(2, block_s=0.01)
    assert batch is not None
    assert upkeep(bench).fetch_back() == 2
    assert bench.redis.lrange(bench.keys.requests, 0, -1) == [b"!0 1", b"!0 2", b"3"]
    assert bench.redis.keys("vimmon:rpc:taken*") == []


def test_a_batch_of_a_living_conductor_is_left_to_it(bench: Bench) -> None:
    Presence(bench.redis, bench.keys, bench.conductor_id, beat_s=5, ttl_s=15).beat()
    bench.push(b"1")
    assert bench.requests.take(10, block_s=0.01) is not None
    assert upkeep(bench).fetch_back() == 0


def test_a_batch_that_is_too_old_comes_back_though_its_conductor_lives(bench: Bench) -> None:
    Presence(bench.redis, bench.keys, bench.conductor_id, beat_s=5, ttl_s=15).beat()
    bench.push(b"1")
    batch = bench.requests.take(10, block_s=0.01)
    assert batch is not None
    bench.redis.zadd(bench.keys.taken_index, {batch.taken: bench.leases.now_ms() - 61_000})
    assert upkeep(bench).fetch_back() == 1


def test_a_batch_whose_taking_was_never_answered_is_found_without_the_index(bench: Bench) -> None:
    bench.push(b"1")
    bench.redis.blmove(bench.keys.requests, bench.keys.taken(bench.conductor_id, "lost"), 1, "LEFT", "RIGHT")
    chores = upkeep(bench)
    assert chores.fetch_back() == 0
    assert chores.enter_missing() == 1
    assert chores.fetch_back() == 1
    assert bench.redis.lrange(bench.keys.requests, 0, -1) == [b"!0 1"]


def test_an_acknowledgement_that_is_sent_twice_deletes_its_own_batch_and_no_other(bench: Bench) -> None:
    bench.push(b"1", b"2")
    first, second = bench.requests.take(1, block_s=0.01), bench.requests.take(1, block_s=0.01)
    assert first is not None
    assert second is not None
    for _ in range(2):
        commands = Commands(bench.redis)
        bench.requests.acknowledge(commands, first)
        commands.run()
    assert (second.requests, bench.redis.lrange(second.taken, 0, -1)) == ((b"2",), [b"2"])
    assert bench.redis.zrange(bench.keys.taken_index, 0, -1) == [second.taken.encode()]


def test_what_came_back_is_handled_alone(bench: Bench) -> None:
    vims = [bench.registered(f"vim-{number}") for number in range(3)]
    bench.push(*[update_vim(vim, seq=1) for vim in vims])
    assert bench.requests.take(10, block_s=0.01) is not None
    upkeep(bench).fetch_back()
    assert [bench.server.serve_once(block_s=0.01) for _ in range(3)] == [1, 1, 1]
    assert [bench.row(vim)["status"] for vim in vims] == ["REACHABLE"] * 3


def test_a_request_that_kills_three_conductors_alone_is_buried_and_its_sender_told(bench: Bench) -> None:
    good, poison = bench.registered("good"), bench.registered("poison")
    bench.push(update_vim(poison, seq=1, id="poison"), update_vim(good, seq=1, id="good"))
    taken = []
    for _ in range(4):  # once in a batch, and three times alone
        batch = bench.requests.take(10, block_s=0.01)
        assert batch is not None
        taken.append((len(batch.requests), batch.deaths))
        upkeep(bench).fetch_back()
    assert taken == [(2, 0), (1, 0), (1, 1), (1, 2)]
    bench.serve()
    replies = {reply["id"]: reply for reply in bench.replies()}
    assert replies["poison"]["error"]["message"] == "conductors died handling it"
    assert replies["good"]["result"] == {"status": "REACHABLE"}
    assert bench.redis.llen(bench.keys.dead) == 1
    assert bench.row(poison)["status"] == "PENDING"


def test_a_deregistered_vim_is_cleaned_until_mistral_has_nothing_of_it(bench: Bench) -> None:
    vim = bench.registered()
    bench.vims.deregister(vim.id)
    assert upkeep(bench, forgotten_after_s=-1).enqueue_forgotten() == 1
    (job,) = JobQueue(bench.redis, name="vimmon").queue.get_jobs()
    assert (job.func_name, list(job.args)) == (STOP, [vim.id, None])
    job.delete()
    bench.vims.record_clean(vim.id)
    assert upkeep(bench, forgotten_after_s=-1).enqueue_forgotten() == 0


def test_a_job_waits_for_its_next_try_and_then_goes(bench: Bench) -> None:
    queue = JobQueue(bench.redis, name="vimmon").queue
    soon = datetime.now(UTC) + timedelta(hours=1)
    queue.enqueue_at(soon, START, "vim", 1, job_id="later")
    queue.enqueue_at(datetime.now(UTC) - timedelta(seconds=1), START, "vim", 1, job_id="now")
    upkeep(bench).retry_jobs()
    assert queue.job_ids == ["now"]


def test_conductors_that_have_long_been_silent_are_forgotten(bench: Bench) -> None:
    seconds = bench.leases.now_ms() // 1000
    bench.redis.zadd(bench.keys.conductors, {"old": seconds - 4000, "new": seconds})
    upkeep(bench).clear_away()
    assert bench.redis.zrange(bench.keys.conductors, 0, -1) == [b"new"]


def test_the_index_names_no_other_list_than_those_of_conductors(bench: Bench) -> None:
    bench.push(b"1", b"2")
    strangers: dict[Any, float] = {bench.keys.requests: 1.0, "rq:queue:vimmon": 1.0, b"\xff": 1.0}
    bench.redis.zadd(bench.keys.taken_index, strangers)
    assert upkeep(bench).fetch_back() == 0
    assert bench.redis.lrange(bench.keys.requests, 0, -1) == [b"1", b"2"]
    assert bench.redis.zcard(bench.keys.taken_index) == 0


def test_a_taken_list_of_another_type_holds_up_no_other(bench: Bench) -> None:
    bench.push(b"1")
    odd = bench.keys.taken("a", "odd")
    bench.redis.set(odd, "x")
    bench.redis.zadd(bench.keys.taken_index, {odd: 1.0})
    assert bench.requests.take(10, block_s=0.01) is not None
    assert upkeep(bench).fetch_back() == 1


def test_a_batch_that_was_only_slow_does_not_speak_against_its_request(bench: Bench) -> None:
    bench.push(b"!1 x")
    batch = bench.requests.take(1, block_s=0.01)
    assert batch is not None
    bench.requests.give_back(batch.taken, died=False)
    assert bench.redis.lrange(bench.keys.requests, 0, -1) == [b"!1 x"]


@pytest.mark.parametrize("key", ["vimmon:rpc:requests", "vimmon:rpc:taken"])
def test_a_key_of_another_type_where_the_requests_must_be_is_deleted(bench: Bench, key: str) -> None:
    bench.redis.set(key, "rubbish")
    vim = bench.registered()
    stop = threading.Event()
    pauses: list[float] = []

    def pause(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) > 1:
            stop.set()

    thread = threading.Thread(target=bench.server.serve, args=[stop], kwargs={"pause": pause})
    thread.start()
    until(lambda: bench.redis.type(key) != b"string")
    bench.push(update_vim(vim, seq=1))
    until(lambda: bench.row(vim)["status"] == "REACHABLE")
    stop.set()
    thread.join(10)


@pytest.mark.parametrize("ended", [JobStatus.FAILED, JobStatus.CANCELED, JobStatus.STOPPED])
def test_a_job_that_will_never_run_again_bars_no_other(bench: Bench, ended: JobStatus) -> None:
    jobs = JobQueue(bench.redis, name="vimmon")
    assert jobs.start("v", 1)
    assert not jobs.start("v", 1), "it waits already"
    (job,) = jobs.queue.get_jobs()
    jobs.queue.remove(job)
    job.set_status(ended)
    assert jobs.start("v", 1)


def test_a_job_that_is_in_no_list_any_more_bars_no_other(bench: Bench) -> None:
    """Its list was evicted or removed; what it was itself stands on, as one that waits."""
    jobs = JobQueue(bench.redis, name="vimmon")
    assert jobs.start("v", 1)
    bench.redis.delete(jobs.queue.key)
    assert jobs.start("v", 1)
    assert [job.args for job in jobs.queue.get_jobs()] == [["v", 1]]
    assert not jobs.start("v", 1)


def test_a_job_that_waits_for_another_try_bars_another_only_while_it_does(bench: Bench) -> None:
    jobs = JobQueue(bench.redis, name="vimmon")
    assert jobs.start("v", 1)
    (job,) = jobs.queue.get_jobs()
    jobs.queue.remove(job)
    job.set_status(JobStatus.SCHEDULED)
    jobs.queue.scheduled_job_registry.schedule(job, datetime.now(UTC) + timedelta(hours=1))
    assert not jobs.start("v", 1)
    bench.redis.delete(jobs.queue.scheduled_job_registry.key)
    assert jobs.start("v", 1)
