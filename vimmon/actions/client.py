"""The calling side of the RPC: says things to the conductor until they are answered.

Of each VIM only the newest status is kept. It is sent again, under the same id, until somebody answers; while Redis is
away it waits. So nothing that still holds is lost, and nothing old is heaped up.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from vimmon.actions.connection import LONGEST_BLOCK_S
from vimmon.lease.keys import Keys
from vimmon.log import event
from vimmon.messages import Answer, CallFailed, UpdateVim, call, read_reply

log = logging.getLogger(__name__)

BULK = 500
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
PAUSE_S = 1.0  # before Redis is tried again

Hear = Callable[[UpdateVim, Answer], None]


@dataclass
class _Pending:
    """Something said and not yet answered. `due` is when to send it, in the loop's time."""

    update: UpdateVim
    request_id: str
    due: float
    wait_s: float = FIRST_RETRY_S


class Caller:
    """`hear` is called with each answer. `run` must run for anything to be sent."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        executor_id: str,
        hear: Hear,
        *,
        new_id: Callable[[], str],
        rng: random.Random,
        request_ttl_s: float,
        requests_max: int,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._reply_to = keys.replies(f"{executor_id}:1")
        self._hear = hear
        self._new_id = new_id
        self._rng = rng
        self._request_ttl_s = request_ttl_s
        self._requests_max = requests_max
        self._pending: dict[str, _Pending] = {}
        self._vim_of: dict[str, str] = {}  # request id → vim_id
        self._wake = asyncio.Event()
        self._clock = asyncio.get_running_loop().time

    def say(self, update: UpdateVim) -> None:
        """Takes the place of whatever was said of this VIM and is not answered yet."""
        self.forget(update.vim_id)
        pending = _Pending(update, self._new_id(), self._clock())
        self._pending[update.vim_id] = pending
        self._vim_of[pending.request_id] = update.vim_id
        self._wake.set()

    def forget(self, vim_id: str) -> None:
        """Nothing more is said of this VIM."""
        if old := self._pending.pop(vim_id, None):
            del self._vim_of[old.request_id]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_going(self._send))
            tasks.create_task(self._keep_going(self._receive))

    async def _keep_going(self, step: Callable[[], Any]) -> None:
        while True:
            try:
                await step()
            except (RedisError, OSError) as trouble:
                log.debug(event("redis_away", error=trouble))
                await asyncio.sleep(PAUSE_S)

    async def _send(self) -> None:
        """Sends what is due, in bulk, and waits until something is."""
        self._wake.clear()
        now = self._clock()
        due = [pending for pending in self._pending.values() if pending.due <= now][:BULK]
        if not due:
            soonest = min((pending.due for pending in self._pending.values()), default=now + LAST_RETRY_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, soonest - now))
            return
        if await self._redis.llen(self._keys.requests) >= self._requests_max:
            await asyncio.sleep(PAUSE_S)
            return
        seconds, microseconds = await self._redis.time()
        expires_at = seconds * 1000 + microseconds // 1000 + round(self._request_ttl_s * 1000)
        bodies = [
            call(pending.request_id, pending.update, reply_to=self._reply_to, expires_at=expires_at) for pending in due
        ]
        await self._redis.rpush(self._keys.requests, *bodies)
        for pending in due:
            pending.due = self._clock() + pending.wait_s * (0.75 + self._rng.random() / 2)
            pending.wait_s = min(2 * pending.wait_s, LAST_RETRY_S)

    async def _receive(self) -> None:
        popped = await self._redis.blmpop(LONGEST_BLOCK_S, 1, self._reply_to, direction="LEFT", count=BULK)
        for raw in cast(list[bytes], popped[1]) if popped else ():
            try:
                request_id, reply = read_reply(raw)
            except ValueError as error:
                log.error(event("reply_unreadable", error=error))
                continue
            self._take(str(request_id), reply)

    def _take(self, request_id: str, reply: Answer | CallFailed) -> None:
        vim_id = self._vim_of.get(request_id)
        if vim_id is None:
            return  # an answer to what was said anew since, or answered twice
        if isinstance(reply, CallFailed):
            log.warning(event("call_failed", vim_id=vim_id, error=reply))
            return  # sent again when it is due
        update = self._pending[vim_id].update
        self.forget(vim_id)
        self._hear(update, reply)
