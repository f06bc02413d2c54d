"""What all conductors count together, in one hash of Redis: it outlives each of them, and any of them can show it.

A process counts by itself, and adds what it has counted now and then. What it had not yet added when it was killed is
missing; where the answer to the adding was lost, it may be counted twice. Nothing is decided by these numbers.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import inf
from operator import attrgetter
from typing import Final, cast

from redis import Redis
from redis.exceptions import RedisError

from vimmon.conductor.events import Change
from vimmon.conductor.plan import Plan
from vimmon.lease.keys import Keys
from vimmon.messages import BAD_ACTION, INVALID_PARAMS, TRY_AGAIN, Answer, Refusal

CALLS: Final = ("applied", "known", "bad_action", "try_again", "invalid", "failed", "unreadable", "expired")
ACTIONS: Final = ("restart", "start", "unknown")
SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MICRO: Final = 1_000_000  # Redis adds whole numbers without losing any
NEW = attrgetter("new")
ENDED_MS: Final = "reconcile_ended_ms"


class Tally:
    """Counts in one process; may be used by several threads. A field is `<what>:<which>`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, counts: Mapping[str, int]) -> None:
        with self._lock:
            self._counts.update(counts)

    def call(self, outcome: str, count: int = 1) -> None:
        """So many requests ended so, one of CALLS."""
        self.add({f"calls:{outcome}": count})

    def answered(self, answers: Sequence[Answer | Refusal]) -> None:
        counts: Counter[str] = Counter()
        one_of = dict(zip(map(id, answers), answers, strict=True))  # those that are alike are mostly the same object
        for which, count in Counter(map(id, answers)).items():
            counts[f"calls:{_outcome(one_of[which])}"] += count
        self.add(counts)

    def changed(self, changes: Sequence[Change]) -> None:
        self.add({f"changes:{new}": count for new, count in Counter(map(NEW, changes)).items()})

    def batch(self, requests: int, began_s: float) -> None:
        """A batch of so many requests has been answered; it was taken at `began_s` of this tally's clock."""
        took_s = self.clock() - began_s
        self.add(_observed("batch_requests", SIZES, requests, requests))
        self.add(_observed("batch_seconds", SECONDS, took_s, round(took_s * MICRO)))

    def flush(self, redis: Redis, keys: Keys) -> None:
        """Adds all to what Redis has. Raises redis's own errors while Redis is away: next time, all the same."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        try:
            pipeline = redis.pipeline(transaction=False)
            for field, count in counts.items():
                pipeline.hincrby(keys.totals, field, count)
            pipeline.execute(raise_on_error=False)  # where the hash is of another type, nobody counts
        except RedisError:
            self.add(counts)
            raise


def count_pass(redis: Redis, keys: Keys, found: Plan, *, as_of_ms: int) -> None:
    """That a pass of the reconciler has been carried out, and what there was to do."""
    todo = {"restart": len(found.restarts), "start": len(found.starts), "unknown": len(found.unwatched)}
    pipeline = redis.pipeline(transaction=False)
    pipeline.hincrby(keys.totals, "reconcile:pass", 1)
    for action, count in todo.items():
        if count:
            pipeline.hincrby(keys.totals, f"reconcile:{action}", count)
    if found.unwatched:
        pipeline.hincrby(keys.totals, "changes:UNKNOWN", len(found.unwatched))
    pipeline.hset(keys.totals, ENDED_MS, str(as_of_ms))
    pipeline.execute(raise_on_error=False)  # a key of another type is no reason not to have done the work


class Totals:
    """What Redis has of it; what is missing or no number counts as 0."""

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        self._fields = fields

    def of(self, what: str, which: str) -> int:
        return self._number(f"{what}:{which}") or 0

    @property
    def reconciled_ms(self) -> int | None:
        """When the last pass of the reconciler that came to its end began, in Redis's time."""
        return self._number(ENDED_MS)

    def spread(self, what: str, bounds: Sequence[float], unit: int = 1) -> tuple[list[tuple[float, int]], float]:
        """How many were at most each bound, infinity the last, all below included; and the sum of all."""
        running, counted = 0, []
        for bound in (*bounds, inf):
            running += self.of(what, f"{bound:g}")
            counted.append((bound, running))
        return counted, self.of(what, "sum") / unit

    def _number(self, field: str) -> int | None:
        raw = self._fields.get(field.encode(), b"")
        return int(raw) if raw.isdigit() and len(raw) < 19 else None


def read_totals(redis: Redis, keys: Keys) -> Totals:
    return Totals(cast(dict[bytes, bytes], redis.hgetall(keys.totals)))


def _outcome(answer: Answer | Refusal) -> str:
    if isinstance(answer, Refusal):
        return {TRY_AGAIN: "try_again", INVALID_PARAMS: "invalid"}.get(answer.code, "failed")
    if answer.status == BAD_ACTION:
        return "bad_action"
    return "applied" if answer.applied else "known"


def _observed(what: str, bounds: Sequence[float], value: float, amount: int) -> dict[str, int]:
    return {f"{what}:{(*bounds, inf)[bisect_left(bounds, value)]:g}": 1, f"{what}:sum": amount}
