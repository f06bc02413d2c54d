"""Has vimmon watch what Tacker lists: reads the list, and carries out what follows from it.

Each pass begins from what is: one that was broken off, or came second, does no harm. A list that could not be read to
its end changes nothing.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from vimmon.errors import NameTaken, TackerBusy, TackerRefused, Unreachable, VimExists, VimmonError, VimNotFound
from vimmon.lease.keys import Keys
from vimmon.log import event
from vimmon.redis_url import redis_unreachable
from vimmon.registry.registry import Registry
from vimmon.tacker.client import TackerClient
from vimmon.tacker.listing import NotWatched, read_listing
from vimmon.tacker.plan import Naming, TackerPlan, plan, told_apart
from vimmon.tacker.state import doubted, read_following, skipped, write_following
from vimmon.vim import VimOrigin

log = logging.getLogger(__name__)

POLL_S = 0.2
TURN_S = 150  # how long a turn outlives a process that was killed; a page of the list takes less


@dataclass(frozen=True)
class Passed:
    """What one pass found; and, of that, what it could not do, and why. `followed`: VIMs of Tacker's now watched."""

    plan: TackerPlan
    followed: int
    failed: tuple[NotWatched, ...] = field(default=())


class TackerSync:
    """Raises the client's errors, DatabaseUnreachable and RedisUnreachable; TackerBusy where another is at it."""

    def __init__(
        self,
        client: TackerClient,
        registry: Registry,
        redis: Redis,
        keys: Keys,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._registry = registry
        self._redis = redis
        self._keys = keys
        self._name = str(uuid.uuid4())
        self._clock = clock
        self._sleep = sleep

    def run_once(
        self, *, believe: bool = False, dry_run: bool = False, interval_s: float | None = None, wait_s: float = 0
    ) -> Passed:
        """One pass. `believe`: also a list that lacks most VIMs; `dry_run`: nothing is changed; `wait_s`: so long at
        most for another to end its pass; `interval_s`: how often this is done, for whoever wonders."""
        try:
            with self._turn(wait_s):
                return self._pass(believe=believe, dry_run=dry_run, interval_s=interval_s)
        except RedisError as trouble:
            raise redis_unreachable(trouble) from None

    def _pass(self, *, believe: bool, dry_run: bool, interval_s: float | None) -> Passed:
        before, now_ms = read_following(self._redis, self._keys), self._now_ms()
        if not dry_run:
            said = {} if interval_s is None else {"interval_s": interval_s}
            write_following(self._redis, self._keys, began_ms=now_ms, **said)
        try:
            answered = self._client.vims(self._keep_turn)
            vims = self._registry.list()
            found = plan(
                read_listing(answered.entries),
                vims,
                before.doubted() if before else None,
                now_ms=now_ms,
                believe=believe,
            )
            if not answered.whole:
                found = self._without_those_that_are_there(found)
        except (Unreachable, TackerRefused) as trouble:
            if not dry_run:
                failed = (before.failed if before else 0) + 1
                write_following(self._redis, self._keys, failed=failed, error=str(trouble))
            raise
        ours = sum(vim.origin == VimOrigin.TACKER for vim in vims)
        if dry_run:
            return Passed(found, ours)
        if found.doubt is not None:
            log.warning(
                event("tacker_list_doubted", missing=len(found.doubt.missing), of=ours, times=found.doubt.times)
            )
        passed = Passed(found, ours, tuple(self._carry_out(found)))
        followed = ours + len(found.register) - len(found.deregister) - len(passed.failed)
        passed = replace(passed, followed=followed)
        write_following(
            self._redis,
            self._keys,
            read_ms=now_ms,
            failed=0,
            error=None,
            followed=followed,
            doubt=doubted(found.doubt),
            **skipped(found.not_watched + passed.failed),
        )
        return passed

    def _without_those_that_are_there(self, found: TackerPlan) -> TackerPlan:
        """Of a list that came in pieces: only what Tacker itself says is gone is de-registered."""
        again = {naming.listed.vim_id for naming in found.register}
        gone = []
        for vim in found.deregister:
            self._keep_turn()
            if vim.id in again or self._client.is_gone(vim.id):
                gone.append(vim)
        return replace(found, deregister=tuple(gone))

    def _carry_out(self, found: TackerPlan) -> Iterator[NotWatched]:
        """What could not be done, and why: what is odd about one VIM is no reason not to go on with the others."""
        for vim in found.deregister:
            self._keep_turn()
            with contextlib.suppress(VimNotFound):  # somebody was quicker
                self._registry.deregister(vim.id)
                log.info(event("tacker_vim_deregistered", vim_id=vim.id, vim=vim.name))
        for naming in (*found.update, *found.register):
            self._keep_turn()
            try:
                self._enter(naming)
            except Unreachable:
                raise
            except VimmonError as trouble:
                log.warning(event("tacker_vim_not_followed", vim_id=naming.listed.vim_id, error=trouble))
                yield NotWatched(naming.listed.vim_id, naming.listed.name, str(trouble))

    def _enter(self, naming: Naming) -> None:
        """Under the name that was meant for it, or else under one that tells it apart."""
        for name in dict.fromkeys([naming.name, *told_apart(naming.listed)]):
            with contextlib.suppress(NameTaken):
                return self._enter_as(naming, name)
        raise NameTaken(naming.name)

    def _enter_as(self, naming: Naming, name: str) -> None:
        listed = naming.listed
        if naming.vim is not None:
            self._registry.update(listed.vim_id, name=name, auth_url=listed.auth_url)
            log.info(event("tacker_vim_updated", vim_id=listed.vim_id, vim=name))
            return
        with contextlib.suppress(VimExists):  # somebody was quicker
            self._registry.register(
                name, listed.auth_url, type=listed.type, vim_id=listed.vim_id, origin=VimOrigin.TACKER
            )
            log.info(event("tacker_vim_registered", vim_id=listed.vim_id, vim=name))

    def _now_ms(self) -> int:
        seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds // 1000

    @contextlib.contextmanager
    def _turn(self, wait_s: float) -> Iterator[None]:
        """Two at once would do no harm, but count a doubt twice."""
        until = self._clock() + wait_s
        while not self._redis.set(self._keys.tacker_turn, self._name, nx=True, ex=TURN_S):
            if self._clock() >= until:
                raise TackerBusy("another process is at work on Tacker's list")
            self._sleep(POLL_S)
        try:
            yield
        finally:
            with contextlib.suppress(RedisError):  # it expires by itself
                if cast(bytes | None, self._redis.get(self._keys.tacker_turn)) == self._name.encode():
                    self._redis.delete(self._keys.tacker_turn)

    def _keep_turn(self) -> None:
        self._redis.set(self._keys.tacker_turn, self._name, ex=TURN_S)
