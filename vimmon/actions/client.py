"""The calling side of the RPC: says things to the conductor until they are answered.

Of each VIM only the newest status is kept. It is sent again, under the same id, until somebody answers; while Redis is
away it waits. So nothing that still holds is lost, and nothing old is heaped up.
"""

import asyncio
import contextlib
import logging
import random
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count, islice
from typing import NoReturn, cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from vimmon.actions.connection import LONGEST_BLOCK_S, Line
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
    """Something said, and how long to wait for the answer before it is sent again; `open` until it is answered, or
    something else is said."""

    update: UpdateVim
    request_id: str
    wait_s: float
    open: bool = True


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
        self._sending, self._receiving = Line(redis), Line(redis)
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
        self._asked: dict[str, _Pending] = {}  # the same by their request ids
        self._due: dict[str, _Pending] = {}  # what of them to send, longest due first
        self._rng = rng
        # A heap: when the others are due, with those that were sent together; answered ones as well.
        self._retries: list[tuple[float, int, list[_Pending]]] = []
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
        vim_id, request_id = update.vim_id, self._new_id()
        self.forget(vim_id)
        pending = _Pending(update, request_id, self._first_retry_s)
        self._pending[vim_id] = self._asked[request_id] = self._due[vim_id] = pending
        self._wake.set()

    def forget(self, vim_id: str) -> None:
        """Nothing more is said of this VIM."""
        if vim_id in self._pending:
            self._let_go(self._pending[vim_id])

    async def run(self) -> None:
        """Runs until it is cancelled; Redis may come and go meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_going("send", self._send, pause_s=self._pause_s))
            tasks.create_task(keep_going("receive", self._receive, pause_s=self._pause_s))

    async def _send(self) -> None:
        """Sends what is due, in bulk, or waits until something is."""
        while (first := self._first_retry()) is not None and first[0] <= self._clock():
            self._due |= {one.update.vim_id: one for one in first[2] if one.open}
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
        some = [*islice(self._due.values(), BULK)]
        bodies = [call(one.request_id, one.update, reply_to=self._reply_to, expires_at=expires_at) for one in some]
        if bodies:  # unless all were forgotten meanwhile
            self._waiting = cast(int, await self._sending.ask("RPUSH", self._keys.requests, *bodies))
        self._sent(some)

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

    def _first_retry(self) -> tuple[float, int, list[_Pending]] | None:
        """The next to be sent again, unless they are answered before; those that were are let go of."""
        while self._retries:
            together = self._retries[0][2]
            while together and not together[-1].open:
                together.pop()
            if together:
                return self._retries[0]
            heappop(self._retries)
        return None

    def _sent(self, some: Sequence[_Pending]) -> None:
        """Not those that were answered, forgotten, or said anew while they were on their way."""
        by_wait: dict[float, list[_Pending]] = defaultdict(list)
        for pending in some:
            if pending.open:
                self._due.pop(pending.update.vim_id, None)
                by_wait[pending.wait_s].append(pending)
        for wait_s, together in by_wait.items():
            due_at = self._clock() + wait_s * (1 + JITTER * (2 * self._rng.random() - 1))
            heappush(self._retries, (due_at, next(self._numbers), together))
            for pending in together:
                pending.wait_s = min(2 * wait_s, self._last_retry_s)

    async def _receive(self) -> None:
        popped = await self._receiving.ask("BLMPOP", LONGEST_BLOCK_S, 1, self._reply_to, "LEFT", "COUNT", BULK)
        for raw in cast(list[bytes], popped[1]) if popped else ():
            try:
                request_id, reply = read_reply(raw)
            except (ValueError, TypeError, OverflowError) as error:  # whatever is no answer, however strange
                self._complain(event("reply_unreadable", error=error))
                continue
            if isinstance(request_id, str):
                self._take(request_id, reply)

    def _take(self, request_id: str, reply: Answer | CallFailed) -> None:
        pending = self._asked.get(request_id)
        if pending is None:
            return  # an answer to what was said anew since, or answered twice
        update = pending.update
        if isinstance(reply, CallFailed):
            self._complain(event("call_failed", vim_id=update.vim_id, error=reply))
            return  # sent again when it is due
        self._let_go(pending)
        self._hear(update, reply)

    def _let_go(self, pending: _Pending) -> None:
        pending.open = False
        vim_id = pending.update.vim_id
        del self._pending[vim_id], self._asked[pending.request_id]
        self._due.pop(vim_id, None)

    def _complain(self, line: str) -> None:
        """One line for many: while a database is away every call fails, and is made again."""
        if self._clock() >= self._complain_at:
            self._complain_at = self._clock() + COMPLAIN_EVERY_S
            log.warning(line)
