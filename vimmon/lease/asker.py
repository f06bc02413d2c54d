"""Asks the executor that holds a VIM to probe it now, and waits for what it says."""

import time
import uuid
from typing import cast

from redis import Redis

from vimmon.asks import STILL, Ask, Found
from vimmon.errors import Unreachable, VimmonError
from vimmon.lease.keys import Keys
from vimmon.lease.view import LeaseView
from vimmon.vim import Vim

ASK_TTL_MS = 30_000  # what an executor does not take within this time it shall not find later
BLOCK_S = 1.0


class NobodyHolds(VimmonError):
    remedy = "See whether it is about to be started, or why not: vimmon lease show, vimmon vim show"

    def __init__(self, name: str) -> None:
        super().__init__(f"nobody holds VIM {name!r} now, so nobody can probe it")


class ExecutorSilent(Unreachable):
    remedy = "Ask again; look at the log of that executor"


class Asker:
    """Raises redis's own errors while Redis is away."""

    def __init__(self, redis: Redis, keys: Keys, view: LeaseView) -> None:
        self._redis = redis
        self._keys = keys
        self._view = view

    def check(self, vim: Vim, *, timeout_s: float) -> Found:
        """What the probe found. Raises NobodyHolds; ExecutorSilent when the executor says nothing for `timeout_s`.

        While the probe has to wait for its turn, it says that it is still at it.
        """
        wanted = f"{vim.generation}:{vim.action_id}"
        (report,) = self._view.report([vim])
        holders = [holding.executor for holding in report.holders if holding.lease == wanted]
        if not holders:
            raise NobodyHolds(vim.name)
        ask = Ask(id=str(uuid.uuid4()), vim_id=vim.id)
        asks = self._keys.asks(holders[0])
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.rpush(asks, ask.model_dump_json())
        pipeline.pexpire(asks, ASK_TTL_MS)
        pipeline.execute()
        found = self._answer(self._keys.answer(holders[0], ask.id), timeout_s)
        if found is None:
            raise ExecutorSilent(f"the executor {holders[0]} did not answer within {timeout_s:g} s")
        if found.status is None:
            raise NobodyHolds(vim.name)
        return found

    def _answer(self, key: str, timeout_s: float) -> Found | None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            popped = cast(tuple[bytes, bytes] | None, self._redis.blpop([key], BLOCK_S))
            if popped is not None and popped[1] != STILL:
                return Found.model_validate_json(popped[1])
            if popped is not None:
                deadline = time.monotonic() + timeout_s
        return None
