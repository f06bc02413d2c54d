"""The calling side of the RPC: says things to the conductor until they are answered.

Of each VIM only the newest status is kept. It is sent again, under the same id, until somebody answers; while Redis is
away it waits. So nothing that still holds is lost, and nothing old is heaped up.
"""

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count, islice
from typing import NoReturn, cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from vimmon.actions.connection import LONGEST_BLOCK_S, ask
from vimmon.lease.keys import Keys
from vimmon.log import event
from vimmon.messages import Answer, CallFailed, UpdateVim, call, read_reply
from vimmon.redis_url import remedy_of

log = logging.getLogger(__name__)

BULK = 500
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
JITTER = 0.25  # a share of the wait, in both directions
PAUSE_S = 1.0  # before Redis is tried again
KNOWN_FOR_S = 1.0  # how long what Redis said of its clock, and of the request list, is relied on
COMPLAIN_EVERY_S = 60.0
AWAY = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OSError)  # Redis is away, or is now somebody's replica

Hear = Callable[[UpdateVim, Answer], None]


def request_ids() -> Callable[[], str]:
    """Makes ids, each another, which nobody else has: a few letters by chance, and a number."""
    mine, numbers = secrets.token_hex(8), count(1)
    return lambda: f"{mine}:{next(numbers)}"


async def keep_going(task: str, step: Callable[[], Awaitable[None]], *, pause_s: float = PAUSE_S) -> NoReturn:
    """Takes one step after another, for ever. Trouble, a bug included, only makes it pause, and is logged once."""
    trouble: str | None = None
    told: str | None = None
    since = 0.0
    clock = asyncio.get_running_loop().time
    me = asyncio.current_task()
    while True:
        if me is not None and me.cancelling():  # redis-py sends with wait_for, which may swallow that
            raise asyncio.CancelledError
        try:
            await step()
        except (RedisError, OSError) as error:
            since = since if trouble else clock()
            before, trouble = trouble, "redis_away" if isinstance(error, AWAY) else "redis_refused"
            remedy = remedy_of(error)  # known a little later where what TLS said was lost in a reset
            if trouble != before or remedy not in (None, told):
                log.warning(event(trouble, task=task, error=error, remedy=remedy))
                told = remedy or told
        except Exception as bug:
            since = since if trouble else clock()
            if trouble != repr(bug):
                log.exception(event("task_failed", task=task))
            trouble = repr(bug)
        else:
            if trouble is not None:
                log.info(event("task_goes_on", task=task, after_s=clock() - since))
            trouble = told = None
            continue
        await asyncio.sleep(pause_s)


@dataclass(slots=True, eq=False)
class _Pending:
    """Something said and not yet answered, and how long to wait for the answer before it is sent again."""

    update: UpdateVim
    request_id: str
    wait_s: float


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
        first_retry_s: float = FIRST_RETRY_S,
        last_retry_s: float = LAST_RETRY_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        """From `requests_max` waiting requests on nothing is sent. `pause_s` is waited then, and after trouble."""
        self._redis = redis
        self._keys = keys
        self._reply_to = keys.replies(f"{executor_id}:1")
        self._hear = hear
        self._new_id = new_id
        self._request_ttl_s = request_ttl_s
        self._requests_max = requests_max
        self._first_retry_s = first_retry_s
        self._last_retry_s = last_retry_s
        self._pause_s = pause_s
        self._pending: dict[str, _Pending] = {}
        self._vim_of: dict[str, str] = {}  # request id → vim_id
        self._due: dict[str, None] = {}  # of which VIMs to send what is pending, longest due first
        self._rng = rng
        self._retries: list[tuple[float, int, _Pending]] = []  # a heap: when the others are due; answered ones as well
        self._numbers = count()
        self._wake = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._holding_back = False
        self._waiting = 0  # requests, when last heard of
        self._ahead_s = 0.0  # of this loop's clock Redis's is
        self._known_until = 0.0
        self._complain_at = 0.0

    def say(self, update: UpdateVim) -> None:
        """Takes the place of whatever was said of this VIM and is not answered yet."""
        self.forget(update.vim_id)
        pending = _Pending(update, self._new_id(), self._first_retry_s)
        self._pending[update.vim_id] = pending
        self._vim_of[pending.request_id] = update.vim_id
        self._due[update.vim_id] = None
        self._wake.set()

    def forget(self, vim_id: str) -> None:
        """Nothing more is said of this VIM."""
        if old := self._pending.pop(vim_id, None):
            del self._vim_of[old.request_id]
            self._due.pop(vim_id, None)

    async def run(self) -> None:
        """Runs until it is cancelled; Redis may come and go meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_going("send", self._send, pause_s=self._pause_s))
            tasks.create_task(keep_going("receive", self._receive, pause_s=self._pause_s))

    async def _send(self) -> None:
        """Sends what is due, in bulk, or waits until something is."""
        while (first := self._first_retry()) is not None and first[0] <= self._clock():
            self._due[first[2].update.vim_id] = None
            heappop(self._retries)
        if not self._due:
            await self._until_due()
            return
        if self._clock() >= self._known_until or self._waiting >= self._requests_max:
            await self._ask()
        if self._holds_back(self._waiting):
            await asyncio.sleep(self._pause_s)
            return
        expires_at = round((self._clock() + self._ahead_s + self._request_ttl_s) * 1000)
        some = [self._pending[vim_id] for vim_id in islice(self._due, BULK)]
        bodies = [call(one.request_id, one.update, reply_to=self._reply_to, expires_at=expires_at) for one in some]
        if bodies:  # unless all were forgotten meanwhile
            self._waiting = cast(int, await ask(self._redis, "RPUSH", self._keys.requests, *bodies))
        now = self._clock()
        for pending in some:
            self._sent(pending, now)

    async def _ask(self) -> None:
        """How many requests wait, and what time it is: Redis's clock is the only one that all parts share."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.llen(self._keys.requests)
        pipeline.time()
        self._waiting, (seconds, microseconds) = await pipeline.execute()
        now = self._clock()
        self._ahead_s = seconds + microseconds / 1e6 - now
        self._known_until = now + KNOWN_FOR_S

    async def _until_due(self) -> None:
        self._wake.clear()
        first = self._first_retry()
        wait_s = None if first is None else max(0.0, first[0] - self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):  # not wait_for, which may swallow a cancellation
                await self._wake.wait()
            await asyncio.sleep(0)  # so that what is said in the same turn is sent together

    def _holds_back(self, waiting: int) -> bool:
        before, self._holding_back = self._holding_back, waiting >= self._requests_max
        if self._holding_back != before:
            log.warning(event("held_back" if self._holding_back else "held_back_no_more", requests=waiting))
        return self._holding_back

    def _first_retry(self) -> tuple[float, int, _Pending] | None:
        """The next to be sent again, unless it is answered before; those that were are let go of."""
        retries = self._retries
        while retries and self._pending.get(retries[0][2].update.vim_id) is not retries[0][2]:
            heappop(retries)
        return retries[0] if retries else None

    def _sent(self, pending: _Pending, now: float) -> None:
        vim_id = pending.update.vim_id
        if self._pending.get(vim_id) is not pending:
            return  # answered, forgotten, or said anew while it was on its way
        self._due.pop(vim_id, None)
        due_at = now + pending.wait_s * (1 + JITTER * (2 * self._rng.random() - 1))
        heappush(self._retries, (due_at, next(self._numbers), pending))
        pending.wait_s = min(2 * pending.wait_s, self._last_retry_s)

    async def _receive(self) -> None:
        popped = await ask(self._redis, "BLMPOP", LONGEST_BLOCK_S, 1, self._reply_to, "LEFT", "COUNT", BULK)
        for raw in cast(list[bytes], popped[1]) if popped else ():
            try:
                request_id, reply = read_reply(raw)
            except (ValueError, TypeError, OverflowError) as error:  # whatever is no answer, however strange
                self._complain(event("reply_unreadable", error=error))
                continue
            self._take(str(request_id), reply)

    def _take(self, request_id: str, reply: Answer | CallFailed) -> None:
        vim_id = self._vim_of.get(request_id)
        if vim_id is None:
            return  # an answer to what was said anew since, or answered twice
        if isinstance(reply, CallFailed):
            self._complain(event("call_failed", vim_id=vim_id, error=reply))
            return  # sent again when it is due
        update = self._pending[vim_id].update
        self.forget(vim_id)
        self._hear(update, reply)

    def _complain(self, line: str) -> None:
        """One line for many: while a database is away every call fails, and is made again."""
        if self._clock() >= self._complain_at:
            self._complain_at = self._clock() + COMPLAIN_EVERY_S
            log.warning(line)
