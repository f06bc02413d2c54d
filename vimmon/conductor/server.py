"""Takes requests in batches, has them handled, answers them. The busier, the larger the batches, the cheaper each call.

Whatever ends this process between two steps, a batch is either still in the request list, or in its taken-list, from
where any conductor fetches it back, or answered. Handling one twice changes nothing.
"""

import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from vimmon.conductor.events import log_changes, queue_events
from vimmon.conductor.methods import METHODS
from vimmon.conductor.requests import DEATHS_MAX, Batch, RequestList
from vimmon.conductor.tally import Tally
from vimmon.lease.commands import Commands
from vimmon.lease.connection import AWAY, LONGEST_BLOCK_S
from vimmon.lease.keys import Keys
from vimmon.lease.store import LeaseStore
from vimmon.log import event
from vimmon.messages import (
    INTERNAL_ERROR,
    UNKNOWN_METHOD,
    Refusal,
    Request,
    UpdateCall,
    answer,
    error,
    read_request,
)
from vimmon.registry.store import VimStore

log = logging.getLogger(__name__)

REPLY_TTL_S = 60
PAUSE_S = 1.0  # before Redis is tried again

Call = Request | UpdateCall


class Server:
    """One consumer of the request list. Its `conductor_id` must have a heartbeat while it serves."""

    def __init__(
        self,
        requests: RequestList,
        leases: LeaseStore,
        vims: VimStore,
        *,
        redis: Redis,
        keys: Keys,
        batch: int,
        tally: Tally | None = None,
    ) -> None:
        self._requests = requests
        self._leases = leases
        self._vims = vims
        self._redis = redis
        self._keys = keys
        self._replies_prefix = keys.replies_prefix
        self._batch = batch
        self._tally = tally or Tally()
        self._untold: list[Callable[[], object]] = []  # what keeps nobody waiting: lines of the log, and counts

    def serve(self, stop: threading.Event, *, pause: Callable[[float], object] | None = None) -> None:
        """Serves until `stop` is set, and then only finishes the batch in hand. Redis may come and go meanwhile."""
        away_since: float | None = None
        answers = Commands(self._redis)
        while not stop.is_set():
            begun, answers = answers, Commands(self._redis)
            try:
                batch = self._take(begun, block_s=min(1.0, LONGEST_BLOCK_S))
                if batch is not None:
                    self._handle(batch, answers)
            except AWAY as trouble:
                if away_since is None:
                    log.warning(event("redis_away", error=trouble))
                    away_since = self._tally.clock()
                answers = Commands(self._redis)
                (pause or stop.wait)(PAUSE_S)
            except RedisError as refused:
                log.error(event("redis_refused", error=refused))
                with contextlib.suppress(RedisError):
                    if odd := self._requests.mend():
                        log.error(event("keys_of_another_type_deleted", keys=",".join(odd)))
                answers = Commands(self._redis)
                (pause or stop.wait)(PAUSE_S)
            else:
                if away_since is not None:
                    log.info(event("redis_back", away_s=self._tally.clock() - away_since))
                away_since = None
        with contextlib.suppress(RedisError):
            self._send(answers)

    def serve_once(self, *, block_s: float) -> int:
        """Takes one batch and answers it. Returns how many requests it held."""
        batch = self._take(Commands(self._redis), block_s=block_s)
        if batch is None:
            return 0
        answers = Commands(self._redis)
        self._handle(batch, answers)
        self._send(answers)
        return len(batch.requests)

    def _take(self, answers: Commands, *, block_s: float) -> Batch | None:
        """Answers the last batch, and takes the next: in one go, as the one who asked often has more to say."""
        number = len(answers)
        taken = self._requests.queue_take(answers, self._batch, block_s=block_s)
        results = answers.run(self._tell)
        _complain(results[:number])
        return self._requests.taken(taken, results[number:])

    def _send(self, answers: Commands) -> None:
        _complain(answers.run(self._tell))

    def _tell(self) -> None:
        """Of the batch whose answers are on their way: whoever called works meanwhile."""
        untold, self._untold = self._untold, []
        for tell in untold:
            tell()

    def _handle(self, batch: Batch, answers: Commands) -> None:
        """Adds what the cache shall know, the answers, and after them that the batch is done."""
        began_s = self._tally.clock()
        if batch.deaths >= DEATHS_MAX:
            self._bury(batch, answers)
            return
        replies: dict[str, list[bytes]] = defaultdict(list)
        refused: list[bytes] = []
        by_method: dict[str, list[Call]] = defaultdict(list)
        for raw in batch.requests:
            try:
                request = read_request(raw, replies_prefix=self._replies_prefix)
                if request.method not in METHODS:
                    raise _unknown_method(request)
            except Refusal as refusal:
                self._tally.call("unreadable")
                if refusal.reply_to is None:
                    refused.append(raw)
                else:
                    replies[refusal.reply_to].append(error(refusal.id, refusal.code, refusal.message))
                continue
            expires_at = request.expires_at
            if expires_at is None or expires_at > batch.now_ms:
                by_method[request.method].append(request)
            else:
                self._tally.call("expired")
        for method, requests in by_method.items():
            outcomes = METHODS[method](requests, self._leases, self._vims)
            self._leases.queue_advance(answers, outcomes.leases, outcomes.statuses, as_of_ms=batch.now_ms)
            for request, outcome in zip(requests, outcomes.answers, strict=True):
                reply_to = request.reply_to
                if reply_to is None:
                    continue
                if isinstance(outcome, Refusal):
                    replies[reply_to].append(error(request.id, outcome.code, outcome.message))
                else:
                    replies[reply_to].append(answer(request.id, outcome))
            queue_events(answers, self._keys, outcomes.changes)
            self._untold += (
                partial(log_changes, outcomes.changes),
                partial(self._tally.answered, outcomes.answers),
                partial(self._tally.changed, outcomes.changes),
            )
        if refused:
            log.warning(event("requests_buried", reason="nobody to answer", requests=len(refused)))
        self._finish(answers, batch, replies, refused)
        self._untold.append(partial(self._tally.batch, len(batch.requests), began_s))

    def _finish(
        self, commands: Commands, batch: Batch, replies: dict[str, list[bytes]], refused: Sequence[bytes]
    ) -> None:
        for reply_to, bodies in replies.items():
            commands.add("RPUSH", reply_to, *bodies)
            commands.add("EXPIRE", reply_to, REPLY_TTL_S, "NX")  # one that nobody empties ends, however much comes
        for raw in refused:
            self._requests.bury(commands, raw)
        self._requests.acknowledge(commands, batch)

    def _bury(self, batch: Batch, answers: Commands) -> None:
        """Three conductors were lost over this request alone: nobody shall try it again."""
        raw = batch.requests[0]
        log.error(event("request_buried", reason="conductors died handling it", deaths=batch.deaths))
        replies: dict[str, list[bytes]] = {}
        try:
            request = read_request(raw, replies_prefix=self._replies_prefix)
            refusal = Refusal(INTERNAL_ERROR, "conductors died handling it", id=request.id, reply_to=request.reply_to)
        except Refusal as unreadable:
            refusal = unreadable
        if refusal.reply_to is not None:
            replies[refusal.reply_to] = [error(refusal.id, INTERNAL_ERROR, refusal.message)]
        self._finish(answers, batch, replies, [raw])


def _unknown_method(request: Call) -> Refusal:
    problem = f"method: not one of {', '.join(METHODS)}"
    return Refusal(UNKNOWN_METHOD, problem, id=request.id, reply_to=request.reply_to)


def _complain(results: Sequence[Any]) -> None:
    """A reply list may be unwritable, being of another type: its owner's trouble, and no reason to keep the batch. What
    the cache did not take is said again, and written by the reconciler."""
    for result in results:
        if isinstance(result, RedisError):
            log.error(event("reply_refused", error=result))
