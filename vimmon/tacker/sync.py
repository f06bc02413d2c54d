"""Has vimmon watch what Tacker lists: reads the list, and carries out what follows from it.

Each pass begins from what is: one that was broken off, or came second, does no harm. A list that could not be read to
its end changes nothing.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from redis import Redis
from redis.exceptions import RedisError

from vimmon.errors import TackerRefused, Unreachable
from vimmon.lease.keys import Keys
from vimmon.log import event
from vimmon.redis_url import redis_unreachable
from vimmon.registry.registry import Registry
from vimmon.tacker.carrying import Done, carry_out
from vimmon.tacker.client import TackerClient
from vimmon.tacker.following import Following
from vimmon.tacker.giving import Giving, givings
from vimmon.tacker.listing import Listing, read_listing
from vimmon.tacker.plan import TackerPlan, plan
from vimmon.tacker.state import count_changes, doubted, read_following, skipped, write_following
from vimmon.tacker.turn import Turn
from vimmon.vim import Vim, VimOrigin

log = logging.getLogger(__name__)

GIVEN_AT_ONCE = 500
NOTHING = Done()


@dataclass(frozen=True)
class Passed:
    """What one pass found, and what it did. `followed`: VIMs of Tacker's that are watched now; `given`: statuses that
    Tacker was told."""

    plan: TackerPlan
    followed: int
    done: Done = NOTHING
    given: int = 0


class TackerSync:
    """Raises the client's errors, DatabaseUnreachable and RedisUnreachable; TackerBusy where another is at it."""

    def __init__(
        self, client: TackerClient, registry: Registry, redis: Redis, keys: Keys, *, give_status: bool = False
    ) -> None:
        self._client = client
        self._registry = registry
        self._redis = redis
        self._keys = keys
        self._turn = Turn(redis, keys.tacker_turn)
        self._give_status = give_status
        self._refused: dict[str, Giving] = {}

    def run_once(
        self,
        *,
        believe: bool = False,
        interval_s: float | None = None,
        wait_s: float = 0,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Passed:
        """One pass, which ends early once `stopped()`.

        `believe`: also a list that lacks most VIMs; `interval_s`: how often this is done, for whoever wonders;
        `wait_s`: for so long at most another's pass is waited for.
        """
        try:
            with self._turn.taken(wait_s):
                before, now_ms = read_following(self._redis, self._keys) or Following(), self._now_ms()
                every = {} if interval_s is None else {"interval_s": interval_s}
                write_following(self._redis, self._keys, began_ms=now_ms, **every)
                try:
                    return self._pass(before, now_ms, believe, stopped)
                except (Unreachable, TackerRefused) as trouble:
                    write_following(self._redis, self._keys, failed=before.failed + 1, error=str(trouble))
                    raise
        except RedisError as trouble:
            raise redis_unreachable(trouble) from None

    def look(self, *, believe: bool = False) -> Passed:
        """What a pass would do now. Nothing is changed, and no pass has to wait for it."""
        try:
            before = read_following(self._redis, self._keys) or Following()
            _, vims, found = self._find(before, self._now_ms(), believe, lambda: None)
            return Passed(found, _ours(vims))
        except RedisError as trouble:
            raise redis_unreachable(trouble) from None

    def _pass(self, before: Following, now_ms: int, believe: bool, stopped: Callable[[], bool]) -> Passed:
        def go_on() -> bool:
            self._turn.keep()
            return not stopped()

        listing, vims, found = self._find(before, now_ms, believe, self._turn.keep)
        ours = _ours(vims)
        if found.doubt is not None:
            missing = len(found.doubt.missing)
            log.warning(event("tacker_list_doubted", missing=missing, of=found.doubt.out_of, times=found.doubt.times))
        done = carry_out(found, self._registry, before_each=go_on)
        count_changes(self._redis, self._keys, done)
        given = self._give(listing, vims, go_on) if self._give_status and found.doubt is None else 0
        followed = ours + done.registered - done.deregistered
        said = skipped(found.not_watched + done.failed) | {"doubt": doubted(found.doubt), "followed": followed}
        write_following(self._redis, self._keys, read_ms=now_ms, failed=0, error=None, **said)
        return Passed(found, followed, done, given)

    def _find(
        self, before: Following, now_ms: int, believe: bool, keep_turn: Callable[[], object]
    ) -> tuple[Listing, Sequence[Vim], TackerPlan]:
        answered = self._client.vims(keep_turn)
        listing, vims = read_listing(answered.entries), self._registry.list()
        found = plan(listing, vims, before.doubted(), now_ms=now_ms, believe=believe)
        if not answered.whole:
            found = self._without_those_that_are_there(found, keep_turn)
        return listing, vims, found

    def _without_those_that_are_there(self, found: TackerPlan, keep_turn: Callable[[], object]) -> TackerPlan:
        """Of a list that came in pieces: only what Tacker itself says is gone is de-registered."""
        listed = {naming.listed.vim_id for naming in found.register}  # it has become of another type
        gone = []
        for vim in found.deregister:
            keep_turn()
            if vim.id in listed or self._client.is_gone(vim.id):
                gone.append(vim)
        return replace(found, deregister=tuple(gone))

    def _give(self, listing: Listing, vims: Sequence[Vim], go_on: Callable[[], bool]) -> int:
        """Trouble with it ends it for this pass, and nothing else. What Tacker does not let be said of a VIM is not
        said again: each try is an error in Tacker's log."""
        given = 0
        for giving in givings(listing, vims):
            if self._refused.get(giving.vim_id) == giving:
                continue
            if given >= GIVEN_AT_ONCE or not go_on():
                break
            try:
                if self._client.give(giving.vim_id, giving.extra):
                    given += 1
                    continue
                self._refused[giving.vim_id] = giving
                log.warning(event("tacker_status_not_given", vim_id=giving.vim_id, error="in use, or gone"))
            except (Unreachable, TackerRefused) as trouble:
                log.warning(event("tacker_status_not_given", vim_id=giving.vim_id, error=trouble))
                break
        return given

    def _now_ms(self) -> int:
        seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds // 1000


def _ours(vims: Sequence[Vim]) -> int:
    return sum(vim.origin == VimOrigin.TACKER for vim in vims)
