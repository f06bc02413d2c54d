"""A conductor that answers requests, and its upkeep. Mirrors `conductor/requests.py`, `server.py`, `upkeep.py`.

The methods are the real ones: what they read of the cache was read a step before they are called, and they commit.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import cast

from tests.model.clockwork import Block, Process, Steps
from tests.model.guards import Guard
from tests.model.parts import KEYS, Parts, read_values
from tests.model.queueing import enqueue_stop
from tests.model.redis import Redis
from tests.model.scripts import give_back, take
from vimmon.conductor.cache import Said
from vimmon.conductor.methods import Outcomes, update_vims
from vimmon.conductor.requests import DEATHS_MAX, Batch
from vimmon.conductor.server import REPLY_TTL_S
from vimmon.lease.store import LeaseStore
from vimmon.messages import (
    INTERNAL_ERROR,
    Answer,
    Refusal,
    Request,
    UpdateCall,
    answer,
    error,
    read_request,
    read_update_vim,
)
from vimmon.registry.store import VimStore

BLOCK_S = 20.0  # the real one blocks for 1 s; longer saves steps, and is still below what makes a taken-list too old
SLOW_S = 60.0  # upkeep.SLOW_S
FORGOTTEN_AFTER_S = 60.0


class _ReadBefore:
    """A LeaseStore whose values were read a step ago: those for each request, in their order."""

    def __init__(self, said: list[Said]) -> None:
        self._said = said

    def values(self, vim_ids: Sequence[str]) -> list[Said]:
        assert len(vim_ids) == len(self._said)
        return self._said


class Conductor(Process):
    """service.Rpc: Server.serve, and in a thread of its own Presence."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.new("conductor-"))
        self.parts = parts
        self.redis = parts.link(self)
        self.id = "host" if Guard.UNIQUE_TAKEN_LISTS in parts.missing else self.name
        parts.clockwork.add(self, "beats", self._beat, pause_s=parts.settings.conductor_beat_s)
        self.serving = parts.clockwork.add(self, "serves", self._serve_once)

    def _beat(self) -> Steps:
        """presence.Presence.beat"""
        yield None
        key, ttl_s = KEYS.conductor(self.id), self.parts.settings.conductor_ttl_s
        self.redis(lambda redis: redis.hset(key, {"host": "model"}, ttl_s=ttl_s))
        return self.parts.settings.conductor_beat_s

    def _serve_once(self) -> Steps:
        """server.Server.serve_once"""
        batch = yield from self._take()
        if batch is None:
            return 0.0
        yield None
        replies: dict[str, list[bytes]] = defaultdict(list)
        if batch.deaths >= DEATHS_MAX:
            self._bury(batch, replies)
        else:
            yield from self._handle(batch, replies)
        for reply_to, bodies in replies.items():
            self.redis(_pushed(reply_to, bodies))
            yield None
        self.redis(lambda redis: self._acknowledge(redis, batch))
        return 0.0

    def _handle(self, batch: Batch, replies: dict[str, list[bytes]]) -> Steps:
        requests = [read_request(raw, replies_prefix=KEYS.replies_prefix) for raw in batch.requests]
        requests = [one for one in requests if one.expires_at is None or one.expires_at > batch.now_ms]
        updates = [read_update_vim(request) for request in requests]
        read = self.redis(read_values([update.vim_id for update in updates]))
        yield None
        leases = cast(LeaseStore, _ReadBefore([read[update.vim_id] for update in updates]))
        outcomes = update_vims(requests, leases, cast(VimStore, self.parts.db))
        yield None
        self.redis(self._advanced(outcomes, batch.now_ms))
        for request, outcome in zip(requests, outcomes.answers, strict=True):
            self._check(request, outcome)
            if request.reply_to is not None:
                replies[request.reply_to].append(_reply(request, outcome))
        yield None
        return 0.0

    def _take(self) -> Generator[Block | None, None, Batch | None]:
        """RequestList.take"""
        most = self.parts.settings.rpc_batch
        shared = Guard.UNIQUE_TAKEN_LISTS in self.parts.missing
        taken = KEYS.taken(self.id, "list" if shared else self.parts.new("batch-"))
        until = self.parts.now() + BLOCK_S
        yield Block(lambda: 0.0 if self.parts.redis.range(KEYS.requests) else until)
        now_ms, raw = self.redis(lambda redis: take(redis, taken, most))
        if not raw:
            return None
        if not raw[0].startswith(b"!"):
            return Batch(taken, tuple(raw), now_ms)
        number, _, request = raw[0][1:].partition(b" ")
        return Batch(taken, (request,), now_ms, int(number))

    def _advanced(self, outcomes: Outcomes, as_of_ms: int) -> Callable[[Redis], bool]:
        return lambda redis: self.parts.advance(redis, outcomes.leases, outcomes.statuses, as_of_ms=as_of_ms)

    def _bury(self, batch: Batch, replies: dict[str, list[bytes]]) -> None:
        """Server._bury"""
        request = read_request(batch.requests[0], replies_prefix=KEYS.replies_prefix)
        if request.reply_to is not None:
            replies[request.reply_to].append(error(request.id, INTERNAL_ERROR, "conductors died handling it"))

    def _acknowledge(self, redis: Redis, batch: Batch) -> None:
        """RequestList.acknowledge"""
        held = [one.partition(b" ")[2] if one.startswith(b"!") else one for one in redis.range(batch.taken)]
        for request in held:
            if request not in batch.requests:
                self.parts.violate(f"a request was deleted that this conductor had not handled: {request.decode()}")
        redis.delete(batch.taken)
        redis.zrem(KEYS.taken_index, batch.taken)

    def _check(self, request: Request | UpdateCall, outcome: Answer | Refusal) -> None:
        """Whoever is told that what it said is known must have had it stored, once, by whatever way."""
        update = read_update_vim(request)
        if isinstance(outcome, Refusal) or outcome.status != update.status or update.seq is None:
            return
        if outcome.applied or outcome.seq == update.seq:
            said = (update.vim_id, update.action_id, update.holder, update.seq, update.status)
            if not any(
                (one.vim_id, one.action_id, one.holder, one.seq, one.status) == said
                for one in self.parts.db.ever_stored
            ):
                self.parts.violate(f"told that it is known, and it was never stored: {said}")


class Upkeep(Process):
    """upkeep.Upkeep: each chore in its time. Jobs that wait for another try are the workers' matter here."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.new("upkeep-"))
        self.parts = parts
        self.redis = parts.link(self)
        beat_s = parts.settings.conductor_beat_s
        add = parts.clockwork.add
        add(self, "fetches back", partial(self._fetch_back, beat_s), pause_s=beat_s)
        add(self, "enters missing", partial(self._enter_missing, SLOW_S), pause_s=SLOW_S)
        add(self, "enqueues forgotten", partial(self._enqueue_forgotten, SLOW_S), pause_s=SLOW_S)
        add(self, "clears away", partial(self._clear_away, SLOW_S), pause_s=SLOW_S)

    def _fetch_back(self, every_s: float) -> Steps:
        oldest_s = self.parts.settings.taken_max_age_s
        index = self.redis(lambda redis: redis.zset(KEYS.taken_index))
        for taken, taken_ms in index.items():
            too_old = taken_ms < (self.parts.redis.time() - oldest_s) * 1000
            yield None
            died = not self.redis(partial(_has, key=KEYS.conductor(KEYS.conductor_of(taken))))
            yield None
            if too_old or died:
                self.redis(partial(give_back, taken=taken, died=died))
        return every_s

    def _enter_missing(self, every_s: float) -> Steps:
        prefix = KEYS.taken("", "").rstrip(":")
        found = self.redis(lambda redis: [key for key in redis.data.lists if key.startswith(f"{prefix}:")])
        for key in found:
            yield None
            self.redis(partial(_enter, taken=key))
        return every_s

    def _enqueue_forgotten(self, every_s: float) -> Steps:
        for vim_id in self.parts.db.uncleaned(FORGOTTEN_AFTER_S):
            yield None
            self.redis(enqueue_stop(vim_id, None))
        return every_s

    def _clear_away(self, every_s: float) -> Steps:
        yield None
        self.parts.db.purge(self.parts.settings.purge_after_s)
        return every_s


def _pushed(reply_to: str, bodies: list[bytes]) -> Callable[[Redis], None]:
    return lambda redis: redis.rpush(reply_to, *bodies, ttl_s=REPLY_TTL_S)


def _has(redis: Redis, key: str) -> bool:
    return redis.exists(key)


def _enter(redis: Redis, taken: str) -> bool:
    return redis.zadd(KEYS.taken_index, taken, redis.now_ms(), nx=True)


def _reply(request: Request | UpdateCall, outcome: Answer | Refusal) -> bytes:
    """server.Server._handle"""
    if isinstance(outcome, Refusal):
        return error(request.id, outcome.code, outcome.message)
    return answer(request.id, outcome)
