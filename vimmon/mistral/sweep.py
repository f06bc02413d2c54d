"""What Mistral has of this installation, compared with what the database wants: what to remove, and to start again.

Mistral was asked first and the database afterwards. So what Mistral has and the row does not want is old, and never
something that is just being started.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

YOUNG_S = 120.0  # a start that is younger may be missing in Mistral's answer, or not have failed for good
GRACE_MAX_S = 64 * 60
FAILED = ("ERROR", "CANCELLED", "SUCCESS")  # a monitor's execution ends in none of them by itself


@dataclass(frozen=True, slots=True)
class Execution:
    """One of this installation's executions. `info` is Mistral's own explanation, where it failed."""

    id: str
    vim_id: str
    state: str
    info: str = ""


@dataclass(frozen=True, slots=True)
class Existing:
    """All that Mistral has of this installation: the VIMs that have a workflow, and the executions."""

    workflows: frozenset[str]
    executions: tuple[Execution, ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """What the database says of a living VIM's execution; `execution_id` None: it was not started yet. `awaited_s`: how
    old its start was when Mistral was asked; `starts`: how many before it were in vain."""

    action_id: str | None
    execution_id: str | None
    awaited_s: float
    starts: int = 0


@dataclass
class Sweep:
    executions: list[str] = field(default_factory=list)  # not wanted: to be deleted
    leftovers: list[str] = field(default_factory=list)  # VIMs that are not registered: to be deleted with all they have
    restarts: dict[str, str] = field(default_factory=dict)  # VIM → why its monitor must be started again


def sweep(existing: Existing, living: Mapping[str, Watched]) -> Sweep:
    """What to remove and to start again."""
    result = Sweep()
    by_id = {execution.id: execution for execution in existing.executions}
    seen = existing.workflows | {execution.vim_id for execution in existing.executions}
    result.leftovers = sorted(seen - living.keys())
    result.executions = sorted(_unwanted(existing.executions, living))
    for vim_id, watched in living.items():
        if watched.execution_id is None or watched.awaited_s < _grace_s(watched):
            continue
        execution = by_id.get(watched.execution_id)
        if execution is None:
            result.restarts[vim_id] = "its execution is gone from Mistral"
        elif execution.state in FAILED:
            result.restarts[vim_id] = f"its execution ended in {execution.state}: {execution.info}".rstrip(": ")
    return result


def _grace_s(watched: Watched) -> float:
    """Longer after each start in vain: what always fails is not asked of Mistral again and again."""
    return min(YOUNG_S * 2.0 ** min(watched.starts, 32), GRACE_MAX_S)


def _unwanted(executions: Iterable[Execution], living: Mapping[str, Watched]) -> Iterable[str]:
    for execution in executions:
        watched = living.get(execution.vim_id)
        if watched is not None and execution.id != watched.action_id:
            yield execution.id
