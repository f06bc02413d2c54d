"""What is to be thought of one VIM's monitor: it watches, it is still on its way, or it is lost; and why.

A monitor that is held may be lost all the same: it hangs in a probe (`stuck`), or its first word never came (`mute`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vimmon.lease.model import Lease
from vimmon.registry.values import Glance


@dataclass(frozen=True, slots=True)
class Limits:
    """Durations in seconds; `starts_per_s` and `starts_burst` bound what Mistral is asked for."""

    start_grace_s: float = 60
    start_grace_max_s: float = 64 * 60
    unknown_after_s: float = 120
    verdict_gap_s: float = 10
    outage_s: float = 30  # after so long without a pass, what was missing before it says nothing
    hold_s: float = 60
    vanished_s: float = 50  # executors that vanish within this time of one another vanish at once
    unheard_graces: float = 5  # a monitor that is held may say nothing for so many start graces
    writes_per_pass: int = 1000
    starts_per_s: float = 10
    starts_burst: float = 100
    tries_without_executor: int = 10


@dataclass(frozen=True, slots=True)
class Missing:
    """Since when nobody holds a VIM; since when, and in how many passes, nobody holds it for this `holder`."""

    since: float
    generation: int
    holder: str | None
    holder_since: float
    passes: int


@dataclass(frozen=True, slots=True)
class Unheard:
    """Since when a monitor could have been heard, had it said anything: it is held, and conductors live."""

    since: float
    generation: int


def holders_of(row: Glance, held: Iterable[tuple[str, Lease]]) -> list[str]:
    """The executors that hold the VIM's wanted action."""
    wanted = (row.generation, row.action_id)
    return [executor for executor, lease in held if (lease.generation, lease.action_id) == wanted]


def still_missing(before: Missing | None, row: Glance, now: float, for_s: float = 0.0) -> Missing:
    """`for_s`: for so long already, as is known otherwise."""
    since = now - for_s if before is None else min(before.since, now - for_s)
    if before is None or (before.generation, before.holder) != (row.generation, row.holder):
        return Missing(since, row.generation, row.holder, now, 1)  # it may be about to say what it holds
    return Missing(since, row.generation, row.holder, before.holder_since, before.passes + 1)


def still_unheard(before: Unheard | None, row: Glance, now: float) -> Unheard:
    return before if before is not None and before.generation == row.generation else Unheard(now, row.generation)


def why_useless(
    row: Glance,
    holders: Iterable[str],
    stuck: Mapping[str, Mapping[str, float]],
    unheard: Unheard | None,
    now: float,
    limits: Limits,
) -> tuple[str, float] | None:
    """Why a VIM that is held is not watched all the same, and for how long; None: it is, as far as anybody can tell.

    What one executor says of a VIM counts only where that one holds the wanted action: an older monitor of the VIM,
    elsewhere, may have hung.
    """
    idle_s = [stuck.get(executor, {}).get(row.vim_id) for executor in holders]
    hanging_s = [for_s for for_s in idle_s if for_s is not None]
    if len(hanging_s) == len(idle_s):
        return f"its monitor has not probed for {min(hanging_s):.0f} s", min(hanging_s)
    long_silent = row.awaited_s >= limits.unheard_graces * grace_s(row, limits)
    if unheard is not None and long_silent and now - unheard.since >= limits.start_grace_s:
        return f"its monitor has said nothing for {row.awaited_s:.0f} s", now - unheard.since
    return None


def why_lost(
    row: Glance, gone: Missing, now: float, limits: Limits, *, queue_s: float, alive_for_s: float
) -> str | None:
    """Why a VIM that nobody holds needs another action; None: that may be on its way, or be seen in the next pass.

    `queue_s`: how long a start may take where many wait. `alive_for_s`: since when an executor lives, after there was
    none; what was started before that was lost, or has arrived a grace later.
    """
    if row.action_id is None:
        return "no action was wanted"
    if row.holder is None:
        grace = max(grace_s(row, limits), queue_s)
        if row.awaited_s >= grace:
            return f"its action was not heard of within {grace:.0f} s"
        if limits.start_grace_s <= alive_for_s <= row.awaited_s:
            return "its action was started while no executor lived"
        return None
    if gone.passes < 2 or now - gone.holder_since < limits.verdict_gap_s:
        return None
    return f"its executor {row.holder.rpartition(':')[0]} holds it no more"


def grace_s(row: Glance, limits: Limits) -> float:
    """How long its start may take; longer after each that was in vain, for a Mistral that is slow."""
    return min(limits.start_grace_s * 2.0 ** min(row.starts, 32), limits.start_grace_max_s)
