"""An executor's sign of life. Mirrors `actions/presence.py`: every command of it is a place to be stopped at."""

from collections.abc import Iterable, Mapping
from functools import partial

from tests.model.clockwork import Block, Steps
from tests.model.parts import KEYS, Parts
from tests.model.redis import Link, Redis
from vimmon.actions.presence import FLUSH_S
from vimmon.lease.model import Lease


class Presence:
    """`held` is the live view of what the executor holds."""

    def __init__(self, parts: Parts, executor_id: str, redis: Link, held: Mapping[str, Lease]) -> None:
        self._parts = parts
        self._redis = redis
        self._held = held
        self._key, self._held_key, self._seen_key = (
            KEYS.executor(executor_id),
            KEYS.held(executor_id),
            KEYS.seen(executor_id),
        )
        self._executor_id = executor_id
        self._rev, self._rev_written = 0, -1
        self._touched: set[str] = set()
        self._written: set[str] = set()
        self._seen: dict[str, float] = {}
        self._next_beat = parts.now()
        self._next_seen = parts.now() + parts.settings.check_interval_s
        self._last_beat = parts.now()
        self._woken: float | None = None

    @property
    def silent_s(self) -> float:
        return self._parts.now() - self._last_beat

    def touch(self, vim_id: str) -> None:
        if vim_id in self._held:
            self._seen[vim_id] = self._parts.now()
        else:
            self._seen.pop(vim_id, None)
        self._touched.add(vim_id)
        self._rev += 1
        if self._woken is None:
            self._woken = self._parts.now() + FLUSH_S

    def saw(self, vim_id: str) -> None:
        self._seen[vim_id] = self._parts.now()

    def step(self) -> Steps:
        """Presence._step"""
        yield Block(lambda: self._next_beat if self._woken is None else min(self._next_beat, self._woken))
        self._woken = None
        now = self._parts.now()
        beats = now >= self._next_beat
        next_beat = now + self._parts.settings.executor_beat_s if beats else self._next_beat
        self._next_beat = now
        if beats:
            yield from self._beat()
        if self._parts.now() >= self._next_seen:
            yield from self._write_seen()
            self._next_seen = self._parts.now() + self._parts.settings.check_interval_s
        yield from self._flush()
        self._next_beat = next_beat
        return 0.0

    def _beat(self) -> Steps:
        def beat(redis: Redis) -> tuple[str | None, int]:
            found = redis.hash(self._key).get("held_rev"), len(redis.hash(self._held_key))
            redis.zadd(KEYS.executors, self._executor_id, redis.time())
            redis.hset(self._key, {"host": "model"})
            for key in (self._key, self._held_key, self._seen_key):
                redis.expire(key, self._parts.settings.executor_ttl_s)
            return found

        rev, number = self._redis(beat)
        self._last_beat = self._parts.now()
        yield None
        if (number != len(self._written) or rev != str(self._rev_written)) and self._rev_written >= 0:
            yield from self._write_anew()
        return 0.0

    def _write_anew(self) -> Steps:
        self._touched.update(self._held)
        self._rev += 1
        for key in (self._held_key, self._seen_key):
            self._touched |= self._redis(partial(Redis.hash, key=key)).keys()
            yield None
        return 0.0

    def _flush(self) -> Steps:
        while self._touched or self._rev != self._rev_written:
            some = frozenset(self._touched)
            self._touched.clear()
            try:
                self._redis(partial(self._write_held, vim_ids=some, rev=self._rev))
            except BaseException:
                self._touched |= some
                raise
            self._written = {vim_id for vim_id in self._written | some if vim_id not in some or vim_id in self._held}
            self._rev_written = self._rev
            yield None
        return 0.0

    def _write_held(self, redis: Redis, vim_ids: frozenset[str], rev: int) -> None:
        redis.hset(self._held_key, {vim_id: str(self._held[vim_id]) for vim_id in vim_ids if vim_id in self._held})
        redis.hset(self._seen_key, self._seen_at(vim_ids))
        gone = [vim_id for vim_id in vim_ids if vim_id not in self._held]
        redis.hdel(self._held_key, *gone)
        redis.hdel(self._seen_key, *gone)
        redis.hset(self._key, {"held_rev": str(rev)})
        for key in (self._held_key, self._seen_key, self._key):
            redis.expire(key, self._parts.settings.executor_ttl_s)

    def _write_seen(self) -> Steps:
        seen, ttl_s = self._seen_at(self._seen), self._parts.settings.executor_ttl_s
        self._redis(lambda redis: redis.hset(self._seen_key, seen, ttl_s=ttl_s))
        yield None
        return 0.0

    def _seen_at(self, vim_ids: Iterable[str]) -> dict[str, str]:
        return {vim_id: f"{self._seen[vim_id]:.3f}" for vim_id in vim_ids if vim_id in self._seen}
