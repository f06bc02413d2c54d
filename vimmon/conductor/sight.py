"""What Redis tells the reconciler: who lives and holds what, which leases stand, whether it is the Redis it was."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from redis import Redis
from redis.exceptions import ResponseError

from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease, parse_lease
from vimmon.lease.store import LeaseStore

STUCK_LOOKS = 3
STEP_S = 10.0  # more than that, and Redis's clock has been set


@dataclass(frozen=True)
class Seen:
    """`as_of_ms` is Redis's time before anything was read; `held`: what each living executor says that it holds, VIM →
    lease, as it wrote it; `once`: the same of the VIMs that one executor alone holds."""

    as_of_ms: int
    epoch_age_s: float
    held: dict[str, dict[str, str]]
    once: dict[str, str]
    stuck: dict[str, dict[str, float]]
    conductors: int

    def held_of(self, vim_ids: Iterable[str]) -> dict[str, dict[str, Lease]]:
        """Which leases of these VIMs each executor holds, as far as they can be read."""
        found: dict[str, dict[str, Lease]] = {executor: {} for executor in self.held}
        for vim_id in vim_ids:
            for executor, texts in self.held.items():
                if (lease := parse_lease(texts.get(vim_id))) is not None:
                    found[executor][vim_id] = lease
        return found


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
        self._hanging: dict[str, dict[str, tuple[str, float]]] = {}  # executor → VIM → since when, at the last look
        self._known: dict[str, tuple[bytes | None, dict[str, str]]] = {}  # executor → held_rev and what it holds
        self._once: dict[str, str] = {}

    def look(self) -> Seen:
        """What holds now."""
        as_of_ms = self._leases.now_ms()
        if self._clock_stepped(as_of_ms / 1000):
            self._redis.delete(self._keys.epoch)  # another epoch: what was written by the old clock says nothing now
            self._hanging, self._stuck_looked_s = {}, as_of_ms / 1000
        epoch_age_s = self._epoch_age_s(as_of_ms)
        executors = self._alive()
        held = {executor: self._held(executor, rev) for executor, rev in executors.items()}
        if self._known.keys() != held.keys() or any(self._known[one][1] is not texts for one, texts in held.items()):
            self._once = held_once(held.values())
        self._known = {executor: (executors[executor], texts) for executor, texts in held.items()}
        stuck = self._stuck(held, as_of_ms / 1000)
        return Seen(as_of_ms, epoch_age_s, held, self._once, stuck, len(self._living_conductors()))

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

    def _held(self, executor: str, rev: bytes | None) -> dict[str, str]:
        try:
            return self._read_held(executor, rev)
        except ResponseError:  # of another type: it holds nothing that can be read
            return {}

    def _read_held(self, executor: str, rev: bytes | None) -> dict[str, str]:
        known_rev, known = self._known.get(executor, (None, {}))
        if rev is not None and rev == known_rev and self._redis.hlen(self._keys.held(executor)) == len(known):
            return known
        found = cast(dict[bytes, bytes], self._redis.hgetall(self._keys.held(executor)))
        return {_text(vim_id): _text(lease) for vim_id, lease in found.items()}

    def _clock_stepped(self, now_s: float) -> bool:
        before, self._ahead_s = self._ahead_s, now_s - self._clock()
        return before is not None and abs(self._ahead_s - before) > STEP_S

    def _stuck(self, held: Mapping[str, Mapping[str, str]], now_s: float) -> dict[str, dict[str, float]]:
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

    def _look_for_hanging(self, executor: str, leases: Mapping[str, str], now_s: float) -> dict[str, tuple[str, float]]:
        try:
            seen = cast(dict[bytes, bytes], self._redis.hgetall(self._keys.seen(executor)))
        except ResponseError:
            return {}
        late = {
            _text(vim_id): seconds
            for vim_id, at in seen.items()
            if (seconds := _seconds(at)) is not None and now_s - seconds > self._stuck_after_s
        }
        return {vim_id: (leases[vim_id], at) for vim_id, at in late.items() if vim_id in leases}

    def _living_conductors(self) -> list[str]:
        """The conductors whose heartbeat has not expired."""
        names = [_text(name) for name in cast(list[bytes], self._redis.zrange(self._keys.conductors, 0, -1))]
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.exists(self._keys.conductor(name))
        return [name for name, lives in zip(names, pipeline.execute(), strict=True) if lives]


def held_once(held: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """What is in one of these alone."""
    once: dict[str, str] = {}
    several: set[str] = set()
    for texts in held:
        several |= once.keys() & texts.keys()
        once |= texts
    for vim_id in several:
        del once[vim_id]
    return once


def _seconds(at: bytes) -> float | None:
    try:
        return float(at)
    except ValueError:
        return None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
