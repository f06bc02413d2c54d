"""Carries out what `plan` finds: starts what is missing, restarts what is lost, says UNKNOWN of what nobody watches.

Every write is guarded by what was read, so two reconcilers at once change nothing twice; that only one works at a time
saves work, and no more. Of almost all VIMs it is plain that nothing is to be done, and nothing more is made of them
than a comparison of texts.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TypeVar, cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from vimmon.conductor.cache import Differences, compare, odd_ones
from vimmon.conductor.events import Change, announce
from vimmon.conductor.plan import Memory, Plan, Sight, Unwatched, plan
from vimmon.conductor.refresh import Refresh
from vimmon.conductor.sight import Lookout, Seen
from vimmon.conductor.tally import count_pass
from vimmon.conductor.verdict import Limits
from vimmon.conductor.walk import Page, Walk
from vimmon.errors import Unreachable, VimmonError
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.lease.store import LeaseStore
from vimmon.log import event
from vimmon.mistral.queue import JobQueue
from vimmon.registry.repair import Repair
from vimmon.registry.restarter import Restarter
from vimmon.registry.values import Glance
from vimmon.settings import Settings
from vimmon.vim import VimStatus

T = TypeVar("T")
log = logging.getLogger(__name__)

BULK = 500
NO_TTL = -1
LOCK_PASSES = 2.5  # how many passes the lock outlives
REFRESHES = 3  # a lease is written anew this often in its time to live, at least
FORGET_EXECUTORS_S = 3600
PROBES_MISSED = 3  # more than that, and the monitor hangs, however seldom it probes
OUTAGE_PASSES = 3  # what was seen so many intervals ago says nothing about now


class Reconciler:
    """`run_once` raises redis's own errors and DatabaseUnreachable; the next pass begins anew."""

    def __init__(
        self,
        *,
        redis: Redis,
        leases: LeaseStore,
        jobs: JobQueue,
        repair: Repair,
        settings: Settings,
        name: str,
        clock: Callable[[], float],
    ) -> None:
        self._redis = redis
        self._leases = leases
        self._jobs = jobs
        self._repair = repair
        self._restarter = Restarter(repair, leases, jobs)
        self._keys = Keys(settings.prefix)
        self._name = name
        self._interval_s = settings.reconcile_interval_s
        self._clock = clock
        self._lookout = Lookout(redis, self._keys, leases, stuck_after_s=3 * settings.check_interval_s)
        self._limits = limits_of(settings)
        self._lock_ms = round(LOCK_PASSES * settings.reconcile_interval_s * 1000)
        self._walk = Walk(leases, repair)
        self._refresh = Refresh(settings.lease_ttl_s / REFRESHES, settings.reconcile_interval_s)
        self._sweep_interval_s = settings.sweep_interval_s
        self._swept: float | None = None
        self._memory = Memory()

    def run(self, stop: threading.Event) -> None:
        """One pass after another until `stop` is set; then the turn is another's."""
        while not stop.wait(self._interval_s):
            try:
                self.run_once()
            except (VimmonError, RedisError) as trouble:
                log.warning(event("reconcile_not_done", error=trouble))
                if isinstance(trouble, ResponseError):
                    self._mend_keys()
            except Exception:  # whatever it stumbles over, the next pass may get further
                log.exception(event("reconcile_not_done"))
        with contextlib.suppress(RedisError):  # it expires by itself
            if self._redis.get(self._keys.reconciler) == self._name.encode():
                self._redis.delete(self._keys.reconciler)

    def _mend_keys(self) -> None:
        with contextlib.suppress(RedisError):
            if odd := self._lookout.mend():
                log.error(event("keys_of_another_type_deleted", keys=",".join(odd)))

    def run_once(self) -> Plan | None:
        """One pass; None where another reconciler works."""
        if not self._my_turn():
            self._memory = Memory()  # what is remembered from before says nothing when the turn comes back
            return None
        seen = self._lookout.look()
        stuck = self._stuck(seen)
        suspects = self._memory.pace.awaited.union(*stuck.values())
        odd: dict[str, Glance] = {}
        leases: dict[str, Lease] = {}
        refresh = self._refresh.due(self._clock())
        for page in self._walk.pages():
            if page.number:
                self._keep_turn()
            strange = odd_ones(page.rows, page.said, seen.once, suspects)
            differences = self._compare(page, strange, odd, refresh=refresh(page.number))
            leases |= differences.found
            self._mend_cache(differences, page.as_of_ms)
        sight = Sight(leases, seen.held_of(odd), stuck, seen.conductors, seen.epoch_age_s)
        found, self._memory = plan(odd.values(), sight, self._memory, self._clock(), self._limits)
        self._carry_out(found, odd)
        self._refresh.done()
        self._sweep_mistral()
        self._memory = replace(self._memory, ended=self._clock())
        count_pass(self._redis, self._keys, found, as_of_ms=seen.as_of_ms)
        self._redis.zremrangebyscore(self._keys.executors, 0, seen.as_of_ms / 1000 - FORGET_EXECUTORS_S)
        return found

    def _my_turn(self) -> bool:
        if self._redis.set(self._keys.reconciler, self._name, nx=True, px=self._lock_ms):
            return True
        mine = cast(bytes | None, self._redis.get(self._keys.reconciler)) == self._name.encode()
        if not mine and self._redis.pttl(self._keys.reconciler) != NO_TTL:
            return False  # one that would never expire is nobody's
        return self._keep_turn()

    def _keep_turn(self) -> bool:
        """So that a long pass is not taken for a dead one: two that take turns in the middle would never finish."""
        return bool(self._redis.set(self._keys.reconciler, self._name, px=self._lock_ms))

    def _chunks(self, values: Mapping[str, T]) -> Iterator[dict[str, T]]:
        items = iter(values.items())
        while some := dict(islice(items, BULK)):
            self._keep_turn()
            yield some

    def _compare(self, page: Page, strange: list[str], odd: dict[str, Glance], *, refresh: bool) -> Differences:
        """What Redis is to be told of a page. Those that live of the strange ones are added to `odd`."""
        looked_at = self._repair.glance([row[0] for row in page.rows] if refresh else strange)
        wanted = set(strange)
        odd |= {one.vim_id: one for one in looked_at if one.vim_id in wanted and not one.deleted}
        return compare(looked_at, page.said, refresh=refresh)

    def _stuck(self, seen: Seen) -> dict[str, dict[str, float]]:
        """Those that hang, as seldom as they may probe."""
        intervals_s = self._repair.intervals_s(list({vim_id for hanging in seen.stuck.values() for vim_id in hanging}))
        return {
            executor: {
                vim_id: for_s
                for vim_id, for_s in hanging.items()
                if vim_id in intervals_s and for_s > PROBES_MISSED * intervals_s[vim_id]
            }
            for executor, hanging in seen.stuck.items()
        }

    def _carry_out(self, found: Plan, rows: dict[str, Glance]) -> None:
        for restart in found.restarts:
            with _alone(restart.vim_id):
                row = rows[restart.vim_id]
                self._restarter.restart(row, to=restart.to, reason=restart.reason, in_vain=restart.in_vain)
        self._keep_turn()
        for vim_id, generation in found.starts:
            with _alone(vim_id):
                if self._jobs.start(vim_id, generation):
                    log.info(event("start_enqueued_again", vim_id=vim_id, generation=generation))
        for lost in found.unwatched:
            with _alone(lost.vim_id):
                self._say_unknown(lost, rows[lost.vim_id].status)
        self._keep_turn()
        self._repair.arrived(found.arrived)
        if found.postponed:
            log.info(event("restarts_postponed", vims=found.postponed, holding=found.holding))

    def _say_unknown(self, lost: Unwatched, old: VimStatus) -> None:
        if self._repair.unwatched(lost.vim_id, generation=lost.generation, seq=lost.seq, reason=lost.reason):
            change = Change(lost.vim_id, str(lost.generation), old, VimStatus.UNKNOWN, lost.reason)
            announce(self._redis, self._keys, [change])

    def _sweep_mistral(self) -> None:
        now = self._clock()
        if self._swept is None or now - self._swept >= self._sweep_interval_s:
            self._swept = now
            self._jobs.sweep()

    def _mend_cache(self, differences: Differences, as_of_ms: int) -> None:
        """Writes leases and statuses where they differ from their row, and now and then all, so that they live on."""
        if differences.ahead:  # its monitor misses it at the next check, and says what is so
            self._redis.delete(*map(self._keys.status, differences.ahead))
            log.warning(event("database_lost_statuses", vims=len(differences.ahead)))
        for leases in self._chunks(differences.leases):
            self._leases.advance(leases, {}, as_of_ms=as_of_ms)
        for statuses in self._chunks(differences.statuses):
            self._leases.advance({}, statuses, as_of_ms=as_of_ms)


def limits_of(settings: Settings) -> Limits:
    """What the settings say of the durations that a plan keeps to."""
    return Limits(
        start_grace_s=settings.start_grace_s,
        unknown_after_s=settings.unknown_after_s,
        verdict_gap_s=settings.reconcile_interval_s,
        outage_s=OUTAGE_PASSES * settings.reconcile_interval_s,
        hold_s=settings.mass_loss_wait_s,
        vanished_s=settings.executor_ttl_s + 2 * settings.reconcile_interval_s,
    )


@contextlib.contextmanager
def _alone(vim_id: str) -> Iterator[None]:
    """What is odd about one VIM is no reason not to repair the others; without database or Redis none can be."""
    try:
        yield
    except (Unreachable, RedisError):
        raise
    except Exception:
        log.exception(event("repair_failed", vim_id=vim_id))
