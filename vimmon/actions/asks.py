"""Answers what operators ask of this executor: a probe of a VIM now, apart from its schedule and its health.

An ask is taken once and not repeated: who waits for the answer in vain asks again.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from vimmon.actions.client import keep_going
from vimmon.actions.connection import LONGEST_BLOCK_S
from vimmon.actions.probing import Prober
from vimmon.actions.probing.reasons import cannot_probe
from vimmon.asks import ASK_MAX_BYTES, STILL, STILL_S, Ask, Found, found
from vimmon.lease.keys import Keys
from vimmon.log import event
from vimmon.probes import Probe, Trace

log = logging.getLogger(__name__)

AT_ONCE = 100  # so that ten who ask for a VIM that keeps silent do not hold up one who asks for another
ANSWER_TTL_MS = 60_000


class Asks:
    """`probe_of` gives the probe of a VIM that is held here, else None."""

    def __init__(
        self, redis: Redis, keys: Keys, executor_id: str, prober: Prober, probe_of: Callable[[str], Probe | None]
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._executor_id = executor_id
        self._prober = prober
        self._probe_of = probe_of
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Runs until it is cancelled; Redis may come and go meanwhile."""
        try:
            await keep_going("asks", self._take)
        finally:
            for task in self._answering:
                task.cancel()

    async def _take(self) -> None:
        async with self._turns:  # no more are taken than can be answered
            pass
        popped = await self._redis.blmpop(LONGEST_BLOCK_S, 1, self._keys.asks(self._executor_id), direction="LEFT")
        for raw in cast(list[bytes], popped[1]) if popped else ():
            task = asyncio.create_task(self._answer(raw))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, raw: bytes) -> None:
        async with self._turns:
            try:
                ask = Ask.model_validate_json(raw[:ASK_MAX_BYTES])
            except ValidationError:
                log.warning(event("ask_unreadable", bytes=len(raw)))
                return
            probing = asyncio.ensure_future(self._probe(ask.vim_id))
            try:
                while not (await asyncio.wait((probing,), timeout=STILL_S))[0]:
                    await self._say(ask, STILL)
                answer = probing.result()
            except Exception as bug:
                log.exception(event("ask_failed", vim_id=ask.vim_id))
                outcome = cannot_probe(f"a bug in vimmon, see this executor's log: {bug!r}")
                answer = found(ask.vim_id, self._executor_id, outcome, Trace())
            finally:
                probing.cancel()
            await self._say(ask, answer.model_dump_json())

    async def _say(self, ask: Ask, what: str | bytes) -> None:
        key = self._keys.answer(self._executor_id, ask.id)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.rpush(key, what)
        pipeline.pexpire(key, ANSWER_TTL_MS)
        try:
            await pipeline.execute()
        except (RedisError, OSError) as error:
            log.warning(event("answer_lost", vim_id=ask.vim_id, error=error))

    async def _probe(self, vim_id: str) -> Found:
        probe = self._probe_of(vim_id)
        if probe is None:
            return Found(vim_id=vim_id, executor=self._executor_id)
        trace = Trace()
        return found(vim_id, self._executor_id, await self._prober.probe(probe, trace), trace)
