"""Jobs that say in which process they are carried out, and do as they are told."""

import os

from redis import Redis
from rq import get_current_job

RAN = "ran"
LONGEST_HOLD_S = 30


def say() -> None:
    _redis().rpush(RAN, os.getpid())


def fail() -> None:
    say()
    raise RuntimeError("as it was told")


def wait_for(key: str) -> None:
    say()
    _redis().blpop([key], timeout=LONGEST_HOLD_S)


def _redis() -> Redis:
    job = get_current_job()
    if job is None:
        raise RuntimeError("not in a job")
    return job.connection
