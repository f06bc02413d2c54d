"""An executor's sign of life in Redis: one heartbeat for all its monitors, and the list of what it holds.

Changes of the list are written as they come; with each heartbeat it is compared, and written anew where Redis lost it.
Keys of an executor that stops living expire by themselves.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from redis.asyncio import Redis

from vimmon.actions.client import PAUSE_S, keep_going
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.log import event
from vimmon.version import VERSION

log = logging.getLogger(__name__)

BULK = 1000
FLUSH_S = 0.2


def new_executor_id(name: str) -> str:
    """Never the same twice: a successor in the same container must not renew a dead one's list."""
    return f"{name}:{os.getpid()}:{secrets.token_hex(4)}"


class Presence:
    """`held` is the live view of what the executor holds; `touch` tells that an entry of it changed.

    `metrics` gives what its operators want to know, where it is told how long ago the oldest check was. `held_rev` in
    Redis is written with, and never before, the entries that it stands for.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        executor_id: str,
        held: Mapping[str, Lease],
        metrics: Callable[[float | None], Mapping[str, bytes]],
        *,
        beat_s: float,
        ttl_s: float,
        seen_s: float,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._executor_id = executor_id
        self._held = held
        self._metrics = metrics
        self._beat_s = beat_s
        self._seen_s = seen_s
        self._ttl_ms = round(ttl_s * 1000)
        self._clock = asyncio.get_running_loop().time
        self._started = 0
        self._rev = 0
        self.degraded = False  # its prober is suspected itself
        self._touched: set[str] = set()  # what Redis has yet to be told
        self._written: set[str] = set()  # what the held list in Redis should have
        self._rev_written = -1  # nothing yet
        self._seen: dict[str, float] = {}  # VIM → when it was last looked at, the loop's time
        self._offset_s = 0.0  # of Redis's clock from the loop's
        self._next_beat = self._clock()
        self._next_seen = self._clock() + seen_s
        self._last_beat = self._clock()
        self._wake = asyncio.Event()

    @property
    def silent_s(self) -> float:
        """How long ago Redis last took a heartbeat."""
        return self._clock() - self._last_beat

    def touch(self, vim_id: str) -> None:
        """The VIM came, went, or is watched by another action now."""
        if vim_id in self._held:
            self._seen[vim_id] = self._clock()  # what an earlier action saw of it is not this one's
        else:
            self._seen.pop(vim_id, None)
        self._touched.add(vim_id)
        self._rev += 1
        self._wake.set()

    def saw(self, vim_ids: Iterable[str], at: float) -> None:
        """A probe of each of these VIMs has ended then, in the loop's time. It may be told later than one after it."""
        seen = self._seen
        for vim_id in vim_ids:
            if at >= seen.get(vim_id, at):
                seen[vim_id] = at

    async def run(self) -> None:
        """Beats until it is cancelled; Redis may come and go meanwhile."""
        await keep_going("presence", self._step, pause_s=min(PAUSE_S, self._beat_s))

    async def _step(self) -> None:
        await self._until_due()
        now = self._clock()
        beats = now >= self._next_beat
        next_beat = now + self._beat_s if beats else self._next_beat
        self._next_beat = now  # after trouble, a beat comes first
        if beats:
            await self._beat()
        tells = self._clock() >= self._next_seen
        if tells:
            await self._write_seen()
            self._next_seen = self._clock() + self._seen_s
        await self._flush()
        self._next_beat = next_beat
        if tells:
            await self._write_metrics()  # last: nothing that counts may wait for figures

    async def _until_due(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._next_beat):  # not wait_for, which may swallow a cancellation
                await self._wake.wait()
            await asyncio.sleep(min(FLUSH_S, self._beat_s))  # so that many changes make one write
        self._wake.clear()

    async def _beat(self) -> None:
        key, held = self._keys.executor(self._executor_id), self._keys.held(self._executor_id)
        seconds, microseconds = await self._redis.time()
        self._started = self._started or seconds
        self._offset_s = seconds + microseconds / 1e6 - self._clock()
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hget(key, "held_rev")
        pipeline.hlen(held)
        pipeline.zadd(self._keys.executors, {self._executor_id: seconds})
        pipeline.hset(key, mapping=self._description())
        rev, count, *_ = await pipeline.execute()
        # Not before that was taken: a Redis out of memory refuses what is written, and yet would let old words live on.
        pipeline = self._redis.pipeline(transaction=False)
        for name in (key, held, self._keys.seen(self._executor_id), self._keys.metrics(self._executor_id)):
            pipeline.pexpire(name, self._ttl_ms)
        await pipeline.execute()
        self._last_beat = self._clock()
        lost = rev != str(self._rev_written).encode() or count != len(self._written)
        if lost and self._rev_written >= 0:
            await self._write_anew(count)

    async def _write_anew(self, count: int) -> None:
        """Redis lost something, as at a restart or a failover: says it all again, and takes out what is not held."""
        log.info(event("held_list_written_anew", executor=self._executor_id, was=count, monitors=len(self._held)))
        self._touched.update(self._held)
        self._rev += 1
        for key in (self._keys.held(self._executor_id), self._keys.seen(self._executor_id)):
            there = cast(list[bytes], await self._redis.hkeys(key))
            self._touched |= {vim_id.decode("utf-8", "surrogateescape") for vim_id in there}

    async def _flush(self) -> None:
        while self._touched or self._rev != self._rev_written:
            some = list(islice(self._touched, BULK))
            self._touched.difference_update(some)  # now: what is touched while it is being written is written again
            rev = self._rev if not self._touched else self._rev_written
            try:
                await self._write_held(some, rev)
            except BaseException:
                self._touched.update(some)
                raise

    async def _write_held(self, vim_ids: Sequence[str], rev: int) -> None:
        key, held = self._keys.executor(self._executor_id), self._keys.held(self._executor_id)
        seen = self._keys.seen(self._executor_id)
        kept = {vim_id: str(self._held[vim_id]) for vim_id in vim_ids if vim_id in self._held}
        gone = [vim_id.encode("utf-8", "surrogateescape") for vim_id in vim_ids if vim_id not in self._held]
        pipeline = self._redis.pipeline(transaction=False)
        if kept:
            pipeline.hset(held, mapping=cast(dict[Any, Any], kept))
            pipeline.hset(seen, mapping=self._seen_at(kept))
        if gone:
            pipeline.hdel(held, *gone)
            pipeline.hdel(seen, *gone)
        pipeline.hset(key, mapping={**self._description(), "held_rev": rev})
        for name in (held, seen, key):
            pipeline.pexpire(name, self._ttl_ms)
        await pipeline.execute()
        self._written.update(kept)
        self._written.difference_update(vim_id for vim_id in vim_ids if vim_id not in kept)
        self._rev_written = rev

    async def _write_seen(self) -> None:
        """When the last probe of each VIM ended. All of them: Redis may have lost what a hung one last wrote."""
        vim_ids = list(self._seen)
        for start in range(0, len(vim_ids), BULK):
            if seen := self._seen_at(vim_ids[start : start + BULK]):
                pipeline = self._redis.pipeline(transaction=False)
                pipeline.hset(self._keys.seen(self._executor_id), mapping=seen)
                pipeline.pexpire(self._keys.seen(self._executor_id), self._ttl_ms)
                await pipeline.execute()

    async def _write_metrics(self) -> None:
        oldest_s = self._clock() - min(self._seen.values()) if self._seen else None
        key = self._keys.metrics(self._executor_id)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hset(key, mapping=cast(dict[Any, Any], self._metrics(oldest_s)))
        pipeline.pexpire(key, self._ttl_ms)
        await pipeline.execute()

    def _seen_at(self, vim_ids: Iterable[str]) -> dict[Any, Any]:
        """In seconds of Redis's clock."""
        return {vim_id: f"{self._seen[vim_id] + self._offset_s:.3f}" for vim_id in vim_ids if vim_id in self._seen}

    def _description(self) -> dict[Any, Any]:
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": VERSION,
            "started": self._started,
            "monitors": len(self._held),
            "prober_degraded": int(self.degraded),
        }
