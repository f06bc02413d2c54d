"""An executor's sign of life in Redis: one heartbeat for all its monitors, and the list of what it holds.

Changes of the list are written as they come; with each heartbeat it is compared, and written anew where Redis lost it.
Keys of an executor that stops living expire by themselves.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Mapping
from itertools import islice
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from vimmon import __version__
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.log import event

log = logging.getLogger(__name__)

BULK = 1000
FLUSH_S = 0.2


def new_executor_id(name: str) -> str:
    """Never the same twice: a successor in the same container must not renew a dead one's list."""
    return f"{name}:{os.getpid()}:{secrets.token_hex(4)}"


class Presence:
    """`held` is the live view of what the executor holds; `touch` tells that an entry of it changed."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        executor_id: str,
        held: Mapping[str, Lease],
        *,
        beat_s: float,
        ttl_s: float,
        seen_s: float,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._executor_id = executor_id
        self._held = held
        self._beat_s = beat_s
        self._seen_s = seen_s
        self._ttl_ms = round(ttl_s * 1000)
        self._started = 0
        self._rev = 0
        self._touched: set[str] = set()
        self._seen: dict[str, float] = {}  # VIM → the loop's time, since last written
        self._wake = asyncio.Event()

    def touch(self, vim_id: str) -> None:
        self._touched.add(vim_id)
        self._rev += 1
        self._wake.set()

    def saw(self, vim_id: str) -> None:
        """A probe of this VIM has just ended."""
        self._seen[vim_id] = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Beats until it is cancelled; Redis may come and go meanwhile."""
        clock = asyncio.get_running_loop().time
        next_beat = clock()
        next_seen = clock() + self._seen_s
        while True:
            try:
                if clock() >= next_beat:
                    await self._beat()
                    next_beat = clock() + self._beat_s
                if clock() >= next_seen:
                    await self._write_seen(clock())
                    next_seen = clock() + self._seen_s
                await self._flush()
            except (RedisError, OSError) as trouble:
                log.debug(event("heartbeat_not_sent", error=trouble))
                next_beat = clock()
                await asyncio.sleep(min(1.0, self._beat_s))
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.0, next_beat - clock()))
                await asyncio.sleep(min(FLUSH_S, self._beat_s))  # so that many changes make one write
            except TimeoutError:
                pass
            self._wake.clear()

    async def _beat(self) -> None:
        key, held = self._keys.executor(self._executor_id), self._keys.held(self._executor_id)
        seconds, _ = await self._redis.time()
        self._started = self._started or seconds
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zadd(self._keys.executors, {self._executor_id: seconds})
        pipeline.hset(key, mapping=self._description())
        for name in (key, held, self._keys.seen(self._executor_id)):
            pipeline.pexpire(name, self._ttl_ms)
        pipeline.hlen(held)
        count = (await pipeline.execute())[-1]
        if count != len(self._held) and not self._touched:
            log.info(event("held_list_written_anew", executor=self._executor_id, was=count, monitors=len(self._held)))
            await self._redis.delete(held)
            self._touched.update(self._held)

    async def _flush(self) -> None:
        held = self._keys.held(self._executor_id)
        while self._touched:
            some = list(islice(self._touched, BULK))
            kept = {vim_id: str(self._held[vim_id]) for vim_id in some if vim_id in self._held}
            gone = [vim_id for vim_id in some if vim_id not in self._held]
            pipeline = self._redis.pipeline(transaction=False)
            if kept:
                pipeline.hset(held, mapping=cast(dict[Any, Any], kept))
            if gone:
                pipeline.hdel(held, *gone)
                pipeline.hdel(self._keys.seen(self._executor_id), *gone)
            pipeline.hset(self._keys.executor(self._executor_id), mapping=self._description())
            pipeline.pexpire(held, self._ttl_ms)
            pipeline.pexpire(self._keys.executor(self._executor_id), self._ttl_ms)
            await pipeline.execute()
            self._touched.difference_update(some)

    async def _write_seen(self, now: float) -> None:
        """When the last probe of each VIM ended, in seconds of Redis's clock; only of those that were probed since."""
        seconds, microseconds = await self._redis.time()
        redis_now = seconds + microseconds / 1e6
        seen, key = self._seen, self._keys.seen(self._executor_id)
        self._seen = {}
        ended = [(vim_id, f"{redis_now - (now - at):.3f}") for vim_id, at in seen.items() if vim_id in self._held]
        for start in range(0, len(ended), BULK):
            await self._redis.hset(key, mapping=dict(ended[start : start + BULK]))
        await self._redis.pexpire(key, self._ttl_ms)

    def _description(self) -> dict[Any, Any]:
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": __version__,
            "started": self._started,
            "monitors": len(self._held),
            "held_rev": self._rev,
        }
