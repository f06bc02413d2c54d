"""What a check found, and what follows from all of it for the exit code."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from vimmon.vim import Frozen

if TYPE_CHECKING:
    from vimmon.cli.doctor.parts import Parts


class State(StrEnum):
    OK = "ok"
    UNKNOWN = "unknown"  # it could not be found out, and why
    WARNING = "warning"  # it works, and yet somebody should look
    WRONG = "wrong"
    AWAY = "away"  # a part that is needed cannot be reached


EXIT_CODES = {State.AWAY: 3, State.WRONG: 1, State.UNKNOWN: 4}  # the worst first


class Finding(Frozen):
    check: str
    state: State
    found: str
    remedy: str | None = None


@dataclass(frozen=True)
class Found:
    """What one check says; `Check` gives it its name."""

    state: State
    text: str
    remedy: str | None = None


@dataclass(frozen=True)
class Check:
    """`ask` may raise a VimmonError or redis's own errors. It is not asked while a check in `needs` is not passed by:
    AWAY, or not asked itself."""

    name: str
    ask: "Callable[[Parts], Found]"
    needs: tuple["Check", ...] = field(default=())


def ok(text: str) -> Found:
    return Found(State.OK, text)


def unknown(text: str, remedy: str | None = None) -> Found:
    return Found(State.UNKNOWN, text, remedy)


def warning(text: str, remedy: str) -> Found:
    return Found(State.WARNING, text, remedy)


def wrong(text: str, remedy: str) -> Found:
    return Found(State.WRONG, text, remedy)


def away(text: str, remedy: str) -> Found:
    return Found(State.AWAY, text, remedy)


def conclusion(findings: Iterable[Finding]) -> str:
    """In one line. What could not be found out is not called well."""
    known = list(findings)
    if bad := [one.check for one in known if one.state in (State.AWAY, State.WRONG)]:
        return f"not well: {', '.join(bad)}"
    if untold := [one.check for one in known if one.state is State.UNKNOWN]:
        return f"not found out: {', '.join(untold)}; of the rest nothing that is needed is away or wrong"
    return "nothing that is needed is away or wrong"


def exit_code(findings: Iterable[Finding]) -> int:
    """3: something that is needed is away; 1: something is wrong; 4: neither, as far as is known; 0: neither."""
    states = {finding.state for finding in findings}
    return next((code for state, code in EXIT_CODES.items() if state in states), 0)
