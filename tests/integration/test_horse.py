"""One process carries out many jobs; it can be killed, and jobs can fail, as if each had a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own
import pytest
from redis import Redis
from rq import Queue, Retry
from rq import Worker as RqWorker
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from tests.support import horse_jobs
from tests.support.polling import eventually
from tests.support.processes import all_end
from vimmon.conductor.horse import DONE, Horse
from vimmon.embedded.redis import RedisServer

JOBS_MAX = 4
LONG_S = 60.0  # nothing is idle for so long here
WORKER = f"""
import sys
from redis import Redis
from rq.serializers import JSONSerializer
from vimmon.conductor import horse
horse.JOBS_MAX, horse.IDLE_S = {JOBS_MAX}, float(sys.argv[2])
redis = Redis.from_url(sys.argv[1])
horse.HorseWorker(["jobs"], connection=redis, serializer=JSONSerializer, job_monitoring_interval=1).work()
"""

Start = Callable[..., psutil.Process]


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("jobs", connection=redis, serializer=JSONSerializer)


@pytest.fixture
def start(redis_server: RedisServer) -> Iterator[Start]:
    """Starts the worker: its process."""
    processes = []

    def start(*, idle_s: float = LONG_S) -> psutil.Process:
        command = [sys.executable, "-c", WORKER, redis_server.url, str(idle_s)]
        processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return psutil.Process(processes[-1].pid)

    yield start
    for process in processes:
        process.kill()
        process.wait()


async def ran(redis: Redis, number: int) -> list[int]:
    """In which processes the first `number` tries of jobs were made, once there were so many."""
    await eventually(lambda: redis.llen(horse_jobs.RAN) >= number)
    return [int(pid) for pid in cast(list[Any], redis.lrange(horse_jobs.RAN, 0, -1))]


async def test_jobs_that_wait_are_carried_out_by_one_process(redis: Redis, queue: Queue, start: Start) -> None:
    jobs = [queue.enqueue(horse_jobs.say) for _ in range(JOBS_MAX)]
    worker = start()
    pids = await ran(redis, len(jobs))
    assert len(set(pids)) == 1
    assert worker.pid not in pids
    await eventually(lambda: all(job.get_status() == JobStatus.FINISHED for job in jobs))


async def test_without_a_job_the_process_ends_and_the_next_job_gets_another(
    redis: Redis, queue: Queue, start: Start
) -> None:
    worker = start(idle_s=0.2)
    queue.enqueue(horse_jobs.say)
    await ran(redis, 1)
    await eventually(lambda: not worker.children())
    queue.enqueue(horse_jobs.say)
    assert len(set(await ran(redis, 2))) == 2


async def test_after_so_many_jobs_another_process_goes_on_and_each_job_runs_once(
    redis: Redis, queue: Queue, start: Start
) -> None:
    jobs = [queue.enqueue(horse_jobs.say) for _ in range(2 * JOBS_MAX + 1)]
    start()
    await eventually(lambda: all(job.get_status() == JobStatus.FINISHED for job in jobs))
    pids = await ran(redis, len(jobs))
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [JOBS_MAX, JOBS_MAX, 1]


async def test_after_a_job_that_failed_the_next_one_gets_another_process(
    redis: Redis, queue: Queue, start: Start
) -> None:
    failed, after = queue.enqueue(horse_jobs.fail), queue.enqueue(horse_jobs.say)
    start()
    await eventually(lambda: after.get_status() == JobStatus.FINISHED)
    assert failed.get_status() == JobStatus.FAILED
    assert len(set(await ran(redis, 2))) == 2


async def test_the_job_of_a_killed_process_is_tried_again_by_another(redis: Redis, queue: Queue, start: Start) -> None:
    before, held = queue.enqueue(horse_jobs.say), queue.enqueue(horse_jobs.wait_for, "go", retry=Retry(max=1))
    start()
    first, horse = await ran(redis, 2)
    assert first == horse
    os.kill(horse, 9)
    assert (await ran(redis, 3))[2] != horse
    redis.rpush("go", "on")
    await eventually(lambda: (before.get_status(), held.get_status()) == (JobStatus.FINISHED, JobStatus.FINISHED))


async def test_a_process_killed_between_two_jobs_costs_no_try(redis: Redis, queue: Queue, start: Start) -> None:
    worker = start()
    first = queue.enqueue(horse_jobs.say)
    (horse,) = await ran(redis, 1)
    await eventually(lambda: first.get_status() == JobStatus.FINISHED)
    await eventually(lambda: RqWorker.all(connection=redis)[0].get_state() == "idle")
    os.kill(horse, 9)
    assert all_end([child for child in worker.children() if child.pid == horse])
    second = queue.enqueue(horse_jobs.say)
    await eventually(lambda: second.get_status() in (JobStatus.FINISHED, JobStatus.FAILED))
    assert second.get_status() == JobStatus.FINISHED


async def test_a_job_that_takes_longer_is_waited_for_with_signs_of_life(
    redis: Redis, queue: Queue, start: Start
) -> None:
    start()
    job = queue.enqueue(horse_jobs.wait_for, "go")
    await ran(redis, 1)
    (worker,) = RqWorker.all(connection=redis)

    def beat() -> object:
        worker.refresh()  # type: ignore[no-untyped-call]  # RQ gave it no types
        return worker.last_heartbeat

    for _ in range(2):
        last = beat()
        await eventually(lambda last=last: beat() != last)  # type: ignore[misc]  # mypy: default of a lambda
    assert job.get_status() == JobStatus.STARTED
    redis.rpush("go", "on")
    await eventually(lambda: job.get_status() == JobStatus.FINISHED)
    assert len(await ran(redis, 1)) == 1


async def test_the_process_of_a_killed_worker_finishes_its_job_and_ends(
    redis: Redis, queue: Queue, start: Start
) -> None:
    worker = start()
    job = queue.enqueue(horse_jobs.wait_for, "go")
    queue.enqueue(horse_jobs.say)
    (horse,) = [psutil.Process(pid) for pid in await ran(redis, 1)]
    worker.kill()
    assert all_end([worker])
    redis.rpush("go", "on")
    await eventually(lambda: job.get_status() == JobStatus.FINISHED)
    assert all_end([horse])
    assert len(await ran(redis, 1)) == 1


def test_whoever_was_broken_off_while_waiting_hears_again_that_the_job_is_done() -> None:
    horse = Horse(lambda orders: orders.sendall(DONE))
    assert horse.is_done()
    assert horse.is_done()
    horse.dismiss()
