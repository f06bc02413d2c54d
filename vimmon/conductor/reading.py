"""What Redis tells of all parts at one moment, for operators: a few round trips, however many VIMs there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from vimmon.conductor.tally import Totals, read_totals
from vimmon.lease.keys import Keys
from vimmon.metrics import FIELD_MAX_BYTES, ExecutorMetrics, read_metrics
from vimmon.mistral.queue import JobQueue
from vimmon.tacker.following import Following, following_of

TOLD = ("monitors", "prober_degraded", "host", "version", "started")
TEXT_MAX = 300
EXECUTORS_MAX = 1000  # more are not asked what they counted: somebody writes names into the index


@dataclass(frozen=True)
class ExecutorSeen:
    """One that lives, and what it says of itself. `started_s`: in seconds of Redis's clock."""

    monitors: int
    degraded: bool
    metrics: ExecutorMetrics
    host: str = ""
    version: str = ""
    started_s: int = 0


@dataclass(frozen=True)
class ConductorSeen:
    """A process that answers actions."""

    host: str
    pid: str
    version: str


@dataclass(frozen=True)
class Reading:
    """`requests`: those that wait; `dead`: those that were put aside; `reconciled_s`: how long ago the last pass of the
    reconciler began that came to its end; `jobs`: by what they wait for; `tacker`: what became of following Tacker;
    `tacker_list_s`: how long ago its list was last read."""

    executors: Mapping[str, ExecutorSeen]
    conductors: Mapping[str, ConductorSeen]
    requests: int
    dead: int
    jobs: Mapping[str, int]
    totals: Totals
    reconciled_s: float | None
    tacker: Following | None = None
    tacker_list_s: float | None = None


def read_redis(redis: Redis, keys: Keys, jobs: JobQueue) -> Reading:
    """Raises redis's own errors while Redis is away."""
    seconds, microseconds = redis.time()
    names = [_text(name) for name in cast(list[bytes], redis.zrange(keys.conductors, 0, -1))]
    requests, dead, *said = _many(
        redis,
        [
            ("LLEN", keys.requests),
            ("LLEN", keys.dead),
            *(("HMGET", keys.conductor(name), "host", "pid", "version") for name in names),
        ],
    )
    totals = read_totals(redis, keys)
    (raw,) = _many(redis, [("HGETALL", keys.tacker)])
    tacker = following_of(raw) if isinstance(raw, dict) and raw else None
    now_s = seconds + microseconds / 1e6
    return Reading(
        executors=_executors(redis, keys),
        conductors={name: ConductorSeen(*map(_text, one)) for name, one in zip(names, said, strict=True) if _said(one)},
        requests=_number(requests),
        dead=_number(dead),
        jobs=jobs.counts(),
        totals=totals,
        reconciled_s=_ago_s(now_s, totals.reconciled_ms),
        tacker=tacker,
        tacker_list_s=_ago_s(now_s, tacker.read_ms if tacker else None),
    )


def _ago_s(now_s: float, at_ms: int | None) -> float | None:
    return None if at_ms is None else max(0.0, now_s - at_ms / 1000)


def _executors(redis: Redis, keys: Keys) -> dict[str, ExecutorSeen]:
    """Those whose heartbeat has not expired. What one wrote that cannot be read is its own trouble."""
    newest_first = cast(list[bytes], redis.zrange(keys.executors, 0, EXECUTORS_MAX - 1, desc=True))
    names = sorted(_text(name) for name in newest_first)
    ttls = _many(redis, [("PTTL", keys.executor(name)) for name in names])
    living = [name for name, ttl_ms in zip(names, ttls, strict=True) if _number(ttl_ms) > 0]
    return {name: _executor(redis, keys, name) for name in living}


def _executor(redis: Redis, keys: Keys, name: str) -> ExecutorSeen:
    fields, key = list(ExecutorMetrics.model_fields), keys.metrics(name)
    said, *lengths = _many(
        redis,
        [("HMGET", keys.executor(name), *TOLD), *(("HSTRLEN", key, field) for field in fields)],
    )
    monitors, degraded, host, version, started = said if isinstance(said, list) else [None] * len(TOLD)
    small = [field for field, length in zip(fields, lengths, strict=True) if 0 < _number(length) <= FIELD_MAX_BYTES]
    (values,) = _many(redis, [("HMGET", key, *small)]) if small else ([],)
    found = dict(zip(small, values, strict=True)) if isinstance(values, list) else {}
    return ExecutorSeen(
        _number(monitors), degraded == b"1", read_metrics(found), _text(host), _text(version), _number(started)
    )


def _many(redis: Redis, commands: Sequence[tuple[str, ...]]) -> list[Any]:
    """A key of another type is as good as none: its answer is an error, and no number."""
    pipeline = redis.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py has no types here
    return pipeline.execute(raise_on_error=False) if commands else []


def _number(answer: object) -> int:
    if isinstance(answer, bytes):
        return int(answer) if answer.isdigit() and len(answer) < 12 else 0
    return answer if isinstance(answer, int) else 0


def _said(answer: object) -> bool:
    """Whether there is such a hash: one whose heartbeat has expired says nothing at all."""
    return isinstance(answer, list) and any(value is not None for value in answer)


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw[:TEXT_MAX].decode("utf-8", "replace")
