"""A reconciler's pass, step by step. Mirrors `conductor/reconcile.py` and `sight.py`; the plan is the real one."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace

from tests.model.clockwork import NEVER, Block, Process, Steps
from tests.model.executor import PROBE
from tests.model.guards import Guard
from tests.model.parts import KEYS, Parts, read_values
from tests.model.queueing import enqueue_start, enqueue_sweep, restart
from tests.model.redis import Redis
from vimmon.conductor.cache import Differences, compare, odd_ones
from vimmon.conductor.plan import Memory, Plan, Sight, plan
from vimmon.conductor.reconcile import LOCK_PASSES, PROBES_MISSED, REFRESHES, limits_of
from vimmon.conductor.sight import STUCK_LOOKS, Seen, held_once
from vimmon.lease.model import lease_text, status_text
from vimmon.registry.values import Expected, Glance

CONDUCTOR = KEYS.conductor("")


class Reconciler(Process):
    """service.Reconcile"""

    def __init__(self, parts: Parts, *, after_s: float = 0.0) -> None:
        super().__init__(parts.new("reconciler-"))
        self.parts = parts
        self.redis = parts.link(self)
        settings = parts.settings
        self._interval_s = settings.reconcile_interval_s
        self._limits = limits_of(settings)
        if Guard.GROWING_GRACE in parts.missing:
            self._limits = replace(self._limits, start_grace_max_s=settings.start_grace_s)
        if Guard.TWO_PASS_VERDICT in parts.missing:
            self._limits = replace(self._limits, verdict_gap_s=0.0)
        self.memory = Memory()
        self._vim_ids: list[str] = []
        self._known: dict[str, tuple[str | None, dict[str, str]]] = {}
        self._stuck_looked_s = 0.0
        self._refreshed: float | None = None
        self._swept: float | None = None
        parts.clockwork.add(self, "passes", self._pass, after_s=after_s, pause_s=self._interval_s)

    def _pass(self) -> Steps:
        """Reconciler.run_once"""
        if not self.redis(self._my_turn):
            self.memory = Memory()
            return self._interval_s
        yield None
        seen = yield from self._look()
        yield None
        stuck = {
            executor: {vim_id: for_s for vim_id, for_s in hanging.items() if for_s > PROBES_MISSED * PROBE.interval_s}
            for executor, hanging in seen.stuck.items()
        }
        as_of_ms, said = self.redis(lambda redis: (redis.now_ms(), read_values(self._vim_ids)(redis)))
        yield None
        rows = [_expected(glance) for glance in self.parts.db.glance()]
        self._vim_ids = [row[0] for row in rows]
        strange = set(odd_ones(rows, said, seen.once, self.memory.pace.awaited.union(*stuck.values())))
        yield None
        refresh = (
            self._refreshed is None or self.parts.now() - self._refreshed >= self.parts.settings.lease_ttl_s / REFRESHES
        )
        glances = [glance for glance in self.parts.db.glance() if refresh or glance.vim_id in strange]
        odd = {glance.vim_id: glance for glance in glances if glance.vim_id in strange and not glance.deleted}
        differences = compare(glances, said, refresh=refresh)
        yield from self._mend_cache(differences, as_of_ms, refresh=refresh)
        found = self._plan(odd, seen, stuck, differences)
        yield from self._carry_out(found, odd)
        if self._swept is None or self.parts.now() - self._swept >= self.parts.settings.sweep_interval_s:
            self._swept = self.parts.now()
            self.redis(enqueue_sweep)
        self.memory = replace(self.memory, ended=self.parts.now())
        return self._interval_s

    def _my_turn(self, redis: Redis) -> bool:
        """Reconciler._my_turn, whose commands are one here: it only saves work."""
        ttl_s = LOCK_PASSES * self._interval_s
        if redis.set(KEYS.reconciler, self.name, ttl_s=ttl_s, nx=True):
            return True
        return redis.get(KEYS.reconciler) == self.name and redis.set(KEYS.reconciler, self.name, ttl_s=ttl_s)

    def _plan(
        self, odd: dict[str, Glance], seen: Seen, stuck: Mapping[str, Mapping[str, float]], differences: Differences
    ) -> Plan:
        age_s = NEVER if Guard.EPOCH_WAIT in self.parts.missing else seen.epoch_age_s
        sight = Sight(differences.found, seen.held_of(odd), stuck, seen.conductors, age_s)
        rows = list(odd.values())
        now = self.parts.now()
        if Guard.TWO_PASS_VERDICT in self.parts.missing:  # what one look shows counts as if it had been seen before
            _, self.memory = plan(rows, sight, self.memory, now, self._limits)
        found, self.memory = plan(rows, sight, self.memory, now, self._limits)
        return found

    def _look(self) -> Generator[Block | None, None, Seen]:
        """Lookout.look"""
        as_of_ms = self.redis(lambda redis: redis.now_ms())
        epoch_age_s = self.redis(_epoch_age_s)
        yield None
        executors = self.redis(_alive)
        yield None
        held = {}
        for executor, rev in executors.items():
            held[executor] = self._held(executor, rev)
            yield None
        self._known = {executor: (executors[executor], leases) for executor, leases in held.items()}
        conductors = self.redis(lambda redis: len([key for key in redis.data.names() if CONDUCTOR in key]))
        stuck = self._stuck(held, as_of_ms)
        return Seen(as_of_ms, epoch_age_s, held, held_once(held.values()), stuck, conductors)

    def _stuck(self, held: Mapping[str, Mapping[str, str]], as_of_ms: int) -> dict[str, dict[str, float]]:
        """Lookout._stuck"""
        stuck: dict[str, dict[str, float]] = {}
        stuck_after_s = 3 * self.parts.settings.check_interval_s
        if as_of_ms / 1000 - self._stuck_looked_s < stuck_after_s / STUCK_LOOKS:
            return stuck
        self._stuck_looked_s = as_of_ms / 1000
        for executor, leases in held.items():
            for vim_id, at in self.redis(_hash(KEYS.seen(executor))).items():
                idle_s = as_of_ms / 1000 - float(at)
                if vim_id in leases and idle_s > stuck_after_s:
                    stuck.setdefault(executor, {})[vim_id] = idle_s
        return stuck

    def _held(self, executor: str, rev: str | None) -> dict[str, str]:
        """Lookout._held"""
        known_rev, known = self._known.get(executor, (None, {}))
        found = self.redis(_hash(KEYS.held(executor)))
        if rev is not None and rev == known_rev and len(found) == len(known):
            return known
        return found

    def _carry_out(self, found: Plan, rows: dict[str, Glance]) -> Steps:
        """Reconciler._carry_out"""
        for one in found.restarts:
            yield None
            row = rows[one.vim_id]
            yield from restart(self.parts, self.redis, row, to=one.to, reason=one.reason, in_vain=one.in_vain)
        for vim_id, generation in found.starts:
            yield None
            self.redis(enqueue_start(vim_id, generation))
        for lost in found.unwatched:
            yield None
            if self.parts.db.unwatched(lost.vim_id, generation=lost.generation, seq=lost.seq):
                self.parts.note(f"{lost.vim_id} is UNKNOWN: {lost.reason}")
        yield None
        self.parts.db.arrived(found.arrived)
        return 0.0

    def _mend_cache(self, differences: Differences, as_of_ms: int, *, refresh: bool) -> Steps:
        """Reconciler._mend_cache"""
        if differences.ahead:
            yield None
            self.redis(lambda redis: redis.delete(*map(KEYS.status, differences.ahead)))
        yield None
        leases, statuses = differences.leases, differences.statuses
        if self.redis(lambda redis: self.parts.advance(redis, leases, statuses, as_of_ms=as_of_ms)) and refresh:
            self._refreshed = self.parts.now()
        return 0.0


def _expected(row: Glance) -> Expected:
    """registry.repair.EXPECTED"""
    if row.deleted or row.starts or not row.seq or row.holder is None:
        return row.vim_id, None, None
    status = status_text(row.generation, row.seq, row.status, row.holder)
    return row.vim_id, lease_text(row.generation, row.action_id), status


def _epoch_age_s(redis: Redis) -> float:
    """Lookout._epoch_age_s, whose two commands are one here"""
    run_id, _, since_ms = (redis.get(KEYS.epoch) or "").partition(":")
    if run_id != redis.run_id or int(since_ms) > redis.now_ms():
        redis.set(KEYS.epoch, f"{redis.run_id}:{redis.now_ms()}")
        return 0.0
    return (redis.now_ms() - int(since_ms)) / 1000


def _alive(redis: Redis) -> dict[str, str | None]:
    """Lookout._alive"""
    names = sorted(redis.zset(KEYS.executors))
    return {name: redis.hash(KEYS.executor(name)).get("held_rev") for name in names if redis.ttl_s(KEYS.executor(name))}


def _hash(key: str) -> Callable[[Redis], dict[str, str]]:
    return lambda redis: redis.hash(key)
