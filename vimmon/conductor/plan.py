"""What the database wants, compared with what living executors hold: what is to be done about the difference.

Level-triggered: each pass looks at what is, and remembers only since when something is missing. A message that was
lost, a job that died or a conductor that was killed in the middle is found by the next pass, whoever makes it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from operator import itemgetter

from vimmon.conductor.pace import Pace
from vimmon.conductor.verdict import (
    Limits,
    Missing,
    Unheard,
    holders_of,
    still_missing,
    still_unheard,
    why_lost,
    why_useless,
)
from vimmon.lease.model import LEAP_MAX, Lease
from vimmon.registry.values import Glance
from vimmon.vim import VimStatus

TRIED_GRACES = 2  # while no executor lives: after so many graces others have their turn
WATCHED = (VimStatus.REACHABLE, VimStatus.UNREACHABLE)  # what must not stay true by silence


@dataclass(frozen=True, slots=True)
class Sight:
    """What Redis said: the leases that are not what the database says, and for each executor that lives, what it holds
    of the VIMs in question, and what it holds but does not look at (`stuck`: for how long, in seconds).

    `conductors`: how many answer; `epoch_age_s`: since Redis was restarted, replaced or flushed."""

    leases: Mapping[str, Lease]
    held: Mapping[str, Mapping[str, Lease]]
    stuck: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    conductors: int = 1
    epoch_age_s: float = inf


@dataclass(frozen=True, slots=True)
class Memory:
    """What one pass leaves to the next. Times are of the reconciler's monotonic clock. `at`: when it was planned;
    `ended`: when it had been carried out; `alive`: whether an executor lived."""

    missing: Mapping[str, Missing] = field(default_factory=dict)
    unheard: Mapping[str, Unheard] = field(default_factory=dict)
    executors: Mapping[str, float] = field(default_factory=dict)  # when each was last seen alive
    hold_until: float = -inf
    alive_since: float | None = None  # an executor lives, after this reconciler had seen none
    pace: Pace = field(default_factory=Pace)
    turn: int = 0  # how many starts were asked for in passes that could not ask for all
    at: float = 0.0
    ended: float = -inf
    alive: bool = False


@dataclass(frozen=True, slots=True)
class Restart:
    """Another action, of generation `to`, shall watch the VIM."""

    vim_id: str
    generation: int
    to: int
    reason: str
    in_vain: bool  # the last start never arrived


@dataclass(frozen=True, slots=True)
class Unwatched:
    """The VIM's status is not known any more; written only if generation and seq are still these."""

    vim_id: str
    generation: int
    seq: int
    reason: str


@dataclass
class Plan:
    restarts: list[Restart] = field(default_factory=list)
    starts: list[tuple[str, int]] = field(default_factory=list)
    unwatched: list[Unwatched] = field(default_factory=list)
    arrived: list[str] = field(default_factory=list)
    postponed: int = 0
    holding: bool = False


def plan(rows: Iterable[Glance], sight: Sight, memory: Memory, now: float, limits: Limits) -> tuple[Plan, Memory]:
    """What to do now, and what to remember. VIMs that are known to be well need not be among the rows, unless the
    memory awaits them."""
    result = Plan()
    executors, hold_until = _lives(sight, memory, now, limits)
    result.holding = now < hold_until or sight.epoch_age_s < limits.hold_s
    before = memory if now - memory.ended <= limits.outage_s else Memory()  # an outage proves nothing about a monitor
    by_vim = _by_vim(sight.held)
    alive_since = _alive_since(sight, memory, now)
    alive_for_s = -inf if alive_since is None else now - alive_since
    queue_s = memory.pace.queue_s(limits)
    missing: dict[str, Missing] = {}
    unheard: dict[str, Unheard] = {}
    candidates: list[tuple[float, Restart]] = []
    awaited: set[str] = set()
    arrived = tried_lately = 0
    for row in rows:
        held = by_vim.get(row.vim_id, ())
        if row.vim_id not in sight.leases and _is_well(row, held, sight):  # as almost all are
            arrived += row.vim_id in memory.pace.awaited
            continue
        useless = None
        if holders := holders_of(row, held):
            if row.holder is None and sight.conductors:
                unheard[row.vim_id] = still_unheard(before.unheard.get(row.vim_id), row, now)
            useless = why_useless(row, holders, sight.stuck, unheard.get(row.vim_id), now, limits)
        reason, for_s = useless or (None, 0.0)
        watched = bool(holders) and useless is None
        gone = still_missing(before.missing.get(row.vim_id), row, now, for_s)
        if not watched:
            missing[row.vim_id] = gone
            if row.status in WATCHED and now - gone.since >= limits.unknown_after_s:
                result.unwatched.append(_unwatched(row, now - gone.since))
        ahead = _ahead(row, (*(lease for _, lease in held), sight.leases.get(row.vim_id)))
        if ahead is not None:
            why = "a lease is ahead of the database"
            candidates.append((inf, Restart(row.vim_id, row.generation, ahead + 1, why, in_vain=False)))
            continue
        if watched:
            arrived += row.vim_id in memory.pace.awaited
            if row.starts and row.holder is not None:
                result.arrived.append(row.vim_id)
            continue
        tried_lately += row.holder is None and row.awaited_s < TRIED_GRACES * limits.start_grace_s
        if row.action_id is not None and row.execution_id is None:
            if row.awaited_s >= limits.start_grace_s:
                result.starts.append((row.vim_id, row.generation))
            continue
        reason = reason or why_lost(row, gone, now, limits, queue_s=queue_s, alive_for_s=alive_for_s)
        if reason is None:
            if row.holder is None:
                awaited.add(row.vim_id)
        elif result.holding:
            result.postponed += 1
        else:
            to = row.generation + 1
            in_vain = row.holder is None
            candidates.append((row.awaited_s, Restart(row.vim_id, row.generation, to, reason, in_vain)))
    passed_s = now - memory.at
    tokens = memory.pace.refilled(passed_s, limits)
    most = int(tokens) if sight.held else min(int(tokens), max(0, limits.tries_without_executor - tried_lately))
    candidates.sort(key=itemgetter(0), reverse=True)  # who has waited longest: all have their turn
    result.restarts = [restart for _, restart in candidates[:most]]
    result.postponed += len(candidates) - len(result.restarts)
    result.starts, turn = _turn_of(result.starts, limits.writes_per_pass, memory.turn)
    del result.unwatched[limits.writes_per_pass :]
    tokens -= len(result.restarts)
    pace = memory.pace.after(passed_s, arrived=arrived, awaited=frozenset(awaited), tokens=tokens, limits=limits)
    remembered = Memory(missing, unheard, executors, hold_until, alive_since, pace, turn, now, now, bool(sight.held))
    return result, remembered


def _alive_since(sight: Sight, memory: Memory, now: float) -> float | None:
    """Since when an executor lives, where there was none before; None: that was not seen."""
    if not sight.held:
        return None
    seen_none = memory.ended > -inf and not memory.alive
    return now if seen_none else memory.alive_since


def _turn_of(starts: list[tuple[str, int]], most: int, turn: int) -> tuple[list[tuple[str, int]], int]:
    """As many as one pass may ask for, others each time: else those at the end would never have their turn."""
    if len(starts) <= most:
        return starts, turn
    first = turn % len(starts)
    return (starts + starts)[first : first + most], turn + most


def _lives(sight: Sight, memory: Memory, now: float, limits: Limits) -> tuple[dict[str, float], float]:
    """When each executor was last seen alive, and until when nobody is believed dead, since most vanished at once."""
    executors = {name: at for name, at in memory.executors.items() if now - at <= limits.vanished_s}
    executors |= dict.fromkeys(sight.held, now)
    gone = executors.keys() - sight.held.keys()
    if len(executors) >= 3 and 2 * len(gone) > len(executors) and now >= memory.hold_until:
        return dict.fromkeys(sight.held, now), now + limits.hold_s
    return executors, memory.hold_until


def _by_vim(held: Mapping[str, Mapping[str, Lease]]) -> dict[str, tuple[tuple[str, Lease], ...]]:
    """VIM → which executor holds which lease of it."""
    by_vim: dict[str, tuple[tuple[str, Lease], ...]] = {}
    for executor, leases in held.items():
        for vim_id, lease in leases.items():
            holding = (executor, lease)
            by_vim[vim_id] = (*by_vim[vim_id], holding) if vim_id in by_vim else (holding,)
    return by_vim


def _is_well(row: Glance, held: tuple[tuple[str, Lease], ...], sight: Sight) -> bool:
    """Whether it is plain at first sight that nothing is to be done: one holds it, and it has been heard."""
    if len(held) != 1 or row.holder is None or row.starts:
        return False
    executor, lease = held[0]
    well = lease.generation == row.generation and lease.action_id == row.action_id
    return well and (executor not in sight.stuck or row.vim_id not in sight.stuck[executor])


def _ahead(row: Glance, leases: Iterable[Lease | None]) -> int | None:
    """The highest generation that is above the row's, or equal with another action: the database was set back."""
    return max(
        (
            lease.generation
            for lease in leases
            if lease is not None
            and (lease.generation, lease.action_id) != (row.generation, row.action_id)
            and row.generation <= lease.generation <= row.generation + LEAP_MAX
        ),
        default=None,
    )


def _unwatched(row: Glance, for_s: float) -> Unwatched:
    return Unwatched(row.vim_id, row.generation, row.seq, f"nobody has watched it for {for_s:.0f} s")
