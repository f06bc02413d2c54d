"""What a row of the fault matrix is asked for (`Scale`), and what it comes to (`Row`)."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.05
SHORT_TIMES = {
    "VIMMON_CHECK_INTERVAL_S": "3",
    "VIMMON_EXECUTOR_BEAT_S": "1",
    "VIMMON_EXECUTOR_TTL_S": "3",
    "VIMMON_CONDUCTOR_BEAT_S": "0.5",
    "VIMMON_CONDUCTOR_TTL_S": "1.5",
    "VIMMON_RECONCILE_INTERVAL_S": "1",
    "VIMMON_START_GRACE_S": "6",
    "VIMMON_UNKNOWN_AFTER_S": "12",
    "VIMMON_MASS_LOSS_WAIT_S": "6",
    "VIMMON_TAKEN_MAX_AGE_S": "6",
    "VIMMON_LEASE_TTL_S": "120",
    "VIMMON_MISTRAL_TIMEOUT_S": "10",
}
PROBE: dict[str, float | str] = {"kind": "tcp", "interval_s": 10, "confirm_interval_s": 2, "timeout_s": 2}
SHORT_PROBE: dict[str, float | str] = {"kind": "tcp", "interval_s": 1, "confirm_interval_s": 0.2, "timeout_s": 1}


class Late(AssertionError):
    """Something that must come did not come in time."""


@dataclass(frozen=True)
class Scale:
    """The full form, with the times that vimmon has by default; or the short one, with a tenth of them."""

    short: bool
    seed: int = 7

    @property
    def environment(self) -> dict[str, str]:
        return dict(SHORT_TIMES) if self.short else {}

    @property
    def probe(self) -> dict[str, float | str]:
        return dict(SHORT_PROBE if self.short else PROBE)

    @property
    def slack_s(self) -> float:
        """What a busy machine may add to a time that must be kept."""
        return 6 if self.short else 10

    def s(self, full_s: float) -> float:
        return full_s / 10 if self.short else full_s

    def count(self, full: int, short: int) -> int:
        return short if self.short else full


@dataclass
class Row:
    """`why` says what did not hold. `heal_s`: from the end of the fault, or from the fault where it has no end."""

    fault: str
    done: str = ""
    heal_s: float | None = None
    lost: int = 0
    stale: int = 0
    restarts: int = 0
    why: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.why

    def must(self, holds: object, otherwise: str) -> None:
        if not holds:
            self.why.append(otherwise)

    def note_writes(self, stale: list[str]) -> None:
        """What the witness in the database saw written that nobody wanted."""
        self.stale += len(stale)
        self.must(not stale, f"written by an unwanted action: {stale[:3]}")


def until(look: Callable[[], T | None], within_s: float, what: str) -> T:
    """The first true answer of `look`; Late when none comes in time."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Late(f"{what}: not within {within_s:g} s")
        time.sleep(POLL_S)
    return found


def seconds_until(look: Callable[[], object], within_s: float, what: str) -> float:
    """How long it took until `look` was true; Late when too long."""
    begun = time.monotonic()
    until(look, within_s, what)
    return time.monotonic() - begun
