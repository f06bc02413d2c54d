"""What Redis tells the reconciler: who lives and holds what, which leases stand, whether it is the Redis it was."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from redis import Redis
from redis.exceptions import ResponseError

from vimmon.conductor.cache import Said
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease, parse_lease
from vimmon.lease.store import LeaseStore

BULK = 1000
STUCK_LOOKS = 3
STEP_S = 10.0  # more than that, and Redis's clock has been set


@dataclass(frozen=True)
class Seen:
    """`as_of_ms` is Redis's time before anything was read."""

    as_of_ms: int
    epoch_age_s: float
    held: dict[str, dict[str, Lease]]
    stuck: dict[str, dict[str, float]]
    conductors: int
    said: dict[str, Said]


class Lookout:
    """Raises redis's own errors while Redis is away."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        leases: LeaseStore,
        *,
        stuck_after_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._leases = leases
        self._stuck_after_s = stuck_after_s
        self._clock = clock
        self._ahead_s: float | None = None  # of Redis's clock from this one
        self._stuck_looked_s = 0.0
        self._hanging: dict[str, dict[str, tuple[Lease, float]]] = {}  # executor → VIM → since when, at the last look
        self._known: dict[str, tuple[bytes | None, dict[str, Lease]]] = {}  # executor → held_rev and what it holds

    def look(self, vim_ids: Sequence[str]) -> Seen:
        """What holds of these VIMs now."""
        as_of_ms = self._leases.now_ms()
        if self._clock_stepped(as_of_ms / 1000):
            self._redis.delete(self._keys.epoch)  # another epoch: what was written by the old clock says nothing now
            self._hanging, self._stuck_looked_s = {}, as_of_ms / 1000
        epoch_age_s = self._epoch_age_s(as_of_ms)
        executors = self._alive()
        held = {executor: self._held(executor, rev) for executor, rev in executors.items()}
        self._known = {executor: (executors[executor], leases) for executor, leases in held.items()}
        said: dict[str, Said] = {}
        for start in range(0, len(vim_ids), BULK):
            some = vim_ids[start : start + BULK]
            said |= zip(some, self._leases.values(some), strict=True)
        return Seen(
            as_of_ms, epoch_age_s, held, self._stuck(held, as_of_ms / 1000), len(self._living_conductors()), said
        )

    def mend(self) -> list[str]:
        """Deletes what stands in the way: a key of another type where an index or the lock must be. Returns which."""
        kinds = {self._keys.executors: b"zset", self._keys.conductors: b"zset", self._keys.reconciler: b"string"}
        odd = [key for key, kind in kinds.items() if self._redis.type(key) not in (kind, b"none")]
        if odd:
            self._redis.delete(*odd)
        return odd

    def _epoch_age_s(self, now_ms: int) -> float:
        """How long ago Redis was restarted, replaced or flushed; kept there, so that the next reconciler knows too."""
        run_id = str(self._redis.info("server")["run_id"])
        try:
            text = cast(bytes | None, self._redis.get(self._keys.epoch)) or b""
        except ResponseError:  # of another type: overwritten below
            text = b""
        known, _, since_ms = _text(text).partition(":")
        if known != run_id or not since_ms.isdecimal() or int(since_ms) > now_ms:  # or its clock was set back
            self._redis.set(self._keys.epoch, f"{run_id}:{now_ms}")
            return 0.0
        return (now_ms - int(since_ms)) / 1000

    def _alive(self) -> dict[str, bytes | None]:
        """The executors whose heartbeat has not expired, and the revision of what they hold."""
        names = [
            name.decode("utf-8", "replace")
            for name in cast(list[bytes], self._redis.zrange(self._keys.executors, 0, -1))
        ]
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.pttl(self._keys.executor(name))
            pipeline.hget(self._keys.executor(name), "held_rev")
        answers = pipeline.execute(raise_on_error=False)  # one of another type is that executor's trouble alone
        return {
            name: rev if isinstance(rev, bytes) else None
            for name, ttl_ms, rev in zip(names, answers[::2], answers[1::2], strict=True)
            if isinstance(ttl_ms, int) and ttl_ms > 0
        }

    def _held(self, executor: str, rev: bytes | None) -> dict[str, Lease]:
        try:
            return self._read_held(executor, rev)
        except ResponseError:  # of another type: it holds nothing that can be read
            return {}

    def _read_held(self, executor: str, rev: bytes | None) -> dict[str, Lease]:
        known_rev, known = self._known.get(executor, (None, {}))
        if rev is not None and rev == known_rev and self._redis.hlen(self._keys.held(executor)) == len(known):
            return known
        found = cast(dict[bytes, bytes], self._redis.hgetall(self._keys.held(executor)))
        leases = {
            vim_id.decode("utf-8", "replace"): parse_lease(text.decode("utf-8", "replace"))
            for vim_id, text in found.items()
        }
        return {vim_id: lease for vim_id, lease in leases.items() if lease is not None}

    def _clock_stepped(self, now_s: float) -> bool:
        before, self._ahead_s = self._ahead_s, now_s - self._clock()
        return before is not None and abs(self._ahead_s - before) > STEP_S

    def _stuck(self, held: Mapping[str, Mapping[str, Lease]], now_s: float) -> dict[str, dict[str, float]]:
        """The VIMs that each living executor holds and has not looked at for too long, and for how long.

        Looked for now and then only: the lists are long, and change once a minute. Until the next look it holds of the
        same lease.
        """
        if now_s - self._stuck_looked_s >= self._stuck_after_s / STUCK_LOOKS:
            self._stuck_looked_s = now_s
            hanging = {executor: self._look_for_hanging(executor, leases, now_s) for executor, leases in held.items()}
            self._hanging = {executor: vims for executor, vims in hanging.items() if vims}
        return {
            executor: {
                vim_id: now_s - since for vim_id, (lease, since) in vims.items() if held[executor].get(vim_id) == lease
            }
            for executor, vims in self._hanging.items()
            if executor in held
        }

    def _look_for_hanging(
        self, executor: str, leases: Mapping[str, Lease], now_s: float
    ) -> dict[str, tuple[Lease, float]]:
        try:
            seen = cast(dict[bytes, bytes], self._redis.hgetall(self._keys.seen(executor)))
        except ResponseError:
            return {}
        times = {_text(vim_id): seconds for vim_id, at in seen.items() if (seconds := _seconds(at)) is not None}
        return {
            vim_id: (leases[vim_id], at)
            for vim_id, at in times.items()
            if vim_id in leases and now_s - at > self._stuck_after_s
        }

    def _living_conductors(self) -> list[str]:
        """The conductors whose heartbeat has not expired."""
        names = [_text(name) for name in cast(list[bytes], self._redis.zrange(self._keys.conductors, 0, -1))]
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.exists(self._keys.conductor(name))
        return [name for name, lives in zip(names, pipeline.execute(), strict=True) if lives]


def _seconds(at: bytes) -> float | None:
    try:
        return float(at)
    except ValueError:
        return None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
