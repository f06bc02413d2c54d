"""When outcomes of single probes become a status: `rise` and `fall` in a row, so that one lost packet is nothing."""

from dataclasses import dataclass
from functools import lru_cache

from vimmon.probes import Outcome
from vimmon.vim import VimStatus

REACHED = VimStatus.REACHABLE


@dataclass(frozen=True, slots=True)
class Health:
    """The status that is held true, and how many outcomes in a row (`streak`) spoke for another (`leaning`)."""

    status: VimStatus = VimStatus.PENDING
    reason: str = ""
    leaning: VimStatus | None = None
    streak: int = 0

    @property
    def confirming(self) -> bool:
        """A change is on its way: probe again soon."""
        return self.streak > 0


@lru_cache(maxsize=4096)  # thousands of VIMs are reached in equal words
def reached(reason: str) -> Health:
    """REACHABLE, and nothing speaks for another status."""
    return Health(REACHED, reason)


def observe(health: Health, outcome: Outcome, *, rise: int, fall: int) -> Health:
    """REACHABLE after `rise` successes in a row, UNREACHABLE or UNKNOWN after `fall` failures; else as it was.

    Failures of both kinds count together against a VIM that is held REACHABLE, or of which nothing is known; the last
    one says which it is. The first success ends PENDING at once: there is no earlier status that it could contradict.
    """
    if outcome.status == health.status:
        unchanged = not health.streak and outcome.reason == health.reason
        return health if unchanged else _held(health.status, outcome.reason)
    streak = health.streak + 1 if _leans_alike(health, outcome) else 1
    if outcome.status == VimStatus.REACHABLE:
        needed = 1 if health.status == VimStatus.PENDING else rise
    else:
        needed = fall
    if streak >= needed:
        return _held(outcome.status, outcome.reason)
    return Health(health.status, health.reason, outcome.status, streak)


def _held(status: VimStatus, reason: str) -> Health:
    return reached(reason) if status == REACHED else Health(status, reason)


def _leans_alike(health: Health, outcome: Outcome) -> bool:
    """Whatever speaks against REACHABLE counts together, and a success ends PENDING by itself."""
    return health.status in (REACHED, VimStatus.PENDING) or health.leaning == outcome.status
