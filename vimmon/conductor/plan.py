"""What the database wants, compared with what living executors hold: what is to be done about the difference.

Level-triggered: each pass looks at what is, and remembers only since when something is missing. A message that was
lost, a job that died or a conductor that was killed in the middle is found by the next pass, whoever makes it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from vimmon.lease.model import LEAP_MAX, Lease
from vimmon.vim import VimStatus

WATCHED = (VimStatus.REACHABLE, VimStatus.UNREACHABLE)  # what must not stay true by silence


@dataclass(frozen=True, slots=True)
class Limits:
    """Durations in seconds; `starts_per_s` and `starts_burst` bound what Mistral is asked for."""

    start_grace_s: float = 60
    start_grace_max_s: float = 64 * 60
    unknown_after_s: float = 120
    verdict_gap_s: float = 10
    hold_s: float = 60
    vanished_s: float = 50  # executors that vanish within this time of one another vanish at once
    unheard_graces: float = 5  # a monitor that is held may say nothing for so many start graces
    writes_per_pass: int = 1000
    starts_per_s: float = 10
    starts_burst: float = 100
    tries_without_executor: int = 10


@dataclass(frozen=True, slots=True)
class Row:
    """A living VIM, as the database has it. `idle_s`: since its execution was recorded, or else since its generation
    was made; `starts`: how often that was in vain since it was last held."""

    vim_id: str
    generation: int
    action_id: str | None
    status: VimStatus
    seq: int
    holder: str | None
    execution_id: str | None
    starts: int
    idle_s: float


@dataclass(frozen=True, slots=True)
class Sight:
    """What Redis said: the leases, and for each executor that lives, what it holds and what it holds but does not look
    at (`stuck`: for how long, in seconds). `epoch_age_s`: since Redis was restarted, replaced or flushed."""

    leases: Mapping[str, Lease]
    held: Mapping[str, Mapping[str, Lease]]
    stuck: Mapping[str, float] = field(default_factory=dict)
    epoch_age_s: float = inf


@dataclass(frozen=True, slots=True)
class Missing:
    """Since when nobody holds a VIM; since when, and in how many passes, nobody holds it for this `holder`."""

    since: float
    generation: int
    holder: str | None
    holder_since: float
    passes: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What one pass leaves to the next. Times are of the reconciler's monotonic clock."""

    missing: Mapping[str, Missing] = field(default_factory=dict)
    executors: Mapping[str, float] = field(default_factory=dict)  # when each was last seen alive
    hold_until: float = -inf
    tokens: float | None = None
    at: float = 0.0


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


def plan(rows: Iterable[Row], sight: Sight, memory: Memory, now: float, limits: Limits) -> tuple[Plan, Memory]:
    """What to do now, and what to remember."""
    result = Plan()
    executors, hold_until = _lives(sight, memory, now, limits)
    result.holding = now < hold_until or sight.epoch_age_s < limits.hold_s
    by_vim = _by_vim(sight.held)
    missing: dict[str, Missing] = {}
    candidates: list[Restart] = []
    on_their_way = 0
    for row in rows:
        held = by_vim.get(row.vim_id, ())
        ahead = _ahead(row, (*held, sight.leases.get(row.vim_id)))
        if ahead is not None:
            why = "a lease is ahead of the database"
            candidates.append(Restart(row.vim_id, row.generation, ahead + 1, why, in_vain=False))
            continue
        if _holds(row, held) and not _is_mute(row, limits) and row.vim_id not in sight.stuck:
            if row.starts and row.holder is not None:
                result.arrived.append(row.vim_id)
            continue
        missing[row.vim_id] = gone = _missing(memory.missing.get(row.vim_id), row, now)
        if row.status in WATCHED and now - gone.since >= limits.unknown_after_s:
            result.unwatched.append(_unwatched(row, now - gone.since))
        if row.action_id is not None and row.execution_id is None:
            on_their_way += 1
            if row.idle_s >= limits.start_grace_s:
                result.starts.append((row.vim_id, row.generation))
            continue
        reason = _why_restart(row, gone, sight, now, limits)
        if reason is None:
            on_their_way += row.holder is None
        elif result.holding:
            result.postponed += 1
        else:
            in_vain = row.holder is None
            candidates.append(Restart(row.vim_id, row.generation, row.generation + 1, reason, in_vain))
    tokens = _tokens(memory, now, limits)
    most = int(tokens) if sight.held else min(int(tokens), max(0, limits.tries_without_executor - on_their_way))
    result.restarts = candidates[:most]
    result.postponed += len(candidates) - len(result.restarts)
    del result.starts[limits.writes_per_pass :], result.unwatched[limits.writes_per_pass :]
    return result, Memory(missing, executors, hold_until, tokens - len(result.restarts), now)


def _lives(sight: Sight, memory: Memory, now: float, limits: Limits) -> tuple[dict[str, float], float]:
    """When each executor was last seen alive, and until when nobody is believed dead, since most vanished at once."""
    executors = {name: at for name, at in memory.executors.items() if now - at <= limits.vanished_s}
    executors |= dict.fromkeys(sight.held, now)
    gone = executors.keys() - sight.held.keys()
    if len(executors) >= 3 and 2 * len(gone) > len(executors) and now >= memory.hold_until:
        return dict.fromkeys(sight.held, now), now + limits.hold_s
    return executors, memory.hold_until


def _tokens(memory: Memory, now: float, limits: Limits) -> float:
    if memory.tokens is None:
        return limits.starts_burst
    return min(limits.starts_burst, memory.tokens + (now - memory.at) * limits.starts_per_s)


def _by_vim(held: Mapping[str, Mapping[str, Lease]]) -> dict[str, tuple[Lease, ...]]:
    by_vim: dict[str, tuple[Lease, ...]] = {}
    for leases in held.values():
        for vim_id, lease in leases.items():
            by_vim[vim_id] = (*by_vim.get(vim_id, ()), lease)
    return by_vim


def _ahead(row: Row, leases: Iterable[Lease | None]) -> int | None:
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


def _holds(row: Row, held: Iterable[Lease]) -> bool:
    return any((lease.generation, lease.action_id) == (row.generation, row.action_id) for lease in held)


def _is_mute(row: Row, limits: Limits) -> bool:
    """Whether it has said nothing for much longer than a start takes, whoever holds it."""
    return row.holder is None and row.idle_s >= limits.unheard_graces * _grace_s(row, limits)


def _grace_s(row: Row, limits: Limits) -> float:
    return min(limits.start_grace_s * 2.0 ** min(row.starts, 32), limits.start_grace_max_s)


def _missing(before: Missing | None, row: Row, now: float) -> Missing:
    if before is None:
        return Missing(now, row.generation, row.holder, now, 1)
    if (before.generation, before.holder) != (row.generation, row.holder):  # it may be about to say what it holds
        return Missing(before.since, row.generation, row.holder, now, 1)
    return Missing(before.since, row.generation, row.holder, before.holder_since, before.passes + 1)


def _why_restart(row: Row, gone: Missing, sight: Sight, now: float, limits: Limits) -> str | None:
    """Why the VIM needs another action; None: it may still be on its way, or be seen in the next pass."""
    if row.action_id is None:
        return "no action was wanted"
    if row.vim_id in sight.stuck:
        return f"its monitor has not probed for {sight.stuck[row.vim_id]:.0f} s"
    if row.holder is None:
        grace_s = _grace_s(row, limits)
        return f"its action was not heard of within {grace_s:g} s" if row.idle_s >= grace_s else None
    if gone.passes < 2 or now - gone.holder_since < limits.verdict_gap_s:
        return None
    return f"its executor {row.holder.rpartition(':')[0]} holds it no more"


def _unwatched(row: Row, for_s: float) -> Unwatched:
    return Unwatched(row.vim_id, row.generation, row.seq, f"nobody has watched it for {for_s:.0f} s")
