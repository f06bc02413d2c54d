"""What the registry hands out besides a Vim, and the bounds of what it takes in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vimmon.errors import InvalidInput
from vimmon.vim import Vim, VimStatus, VimType

PROBE_MAX = 8000
SEQ_MAX = 2**63 - 1
SHOWN_MAX = 500

# A VIM's id, and what its lease key and its status key must say; None: not to be told at first sight.
Expected = tuple[str, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Glance:
    """A VIM as far as its watching goes. `awaited_s`: since its execution was recorded, or else since its generation
    was made; `starts`: how often that was in vain since it was last held; `deleted`: it is de-registered."""

    vim_id: str
    generation: int
    action_id: str | None
    status: VimStatus
    seq: int
    holder: str | None
    execution_id: str | None
    starts: int
    awaited_s: float
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One change of a VIM's status, and who reported it."""

    vim_id: str
    at: datetime
    old: VimStatus
    new: VimStatus
    reason: str | None
    generation: int
    seq: int
    action_id: str


@dataclass(frozen=True, slots=True)
class Deregistered:
    """What a VIM leaves to be cleaned up: its last action and execution. `generation` is that of the tombstone."""

    vim_id: str
    action_id: str
    execution_id: str | None
    generation: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted for a VIM now. `deleted`: nothing, and `action_id` is None."""

    vim_id: str
    generation: int
    action_id: str | None
    auth_url: str
    type: VimType
    probe: dict[str, Any]
    execution_id: str | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows went: of VIMs, and of status changes (their own included)."""

    vims: int
    changes: int


@dataclass(frozen=True)
class Wish:
    """Which VIMs: of this status, with this text in their name or at the beginning of their id; pages count from 1."""

    status: VimStatus | None = None
    text: str = ""
    page: int = 1


@dataclass(frozen=True)
class Moved:
    """A VIM's status became `new`. `at` is UTC, without a zone: there may be many."""

    at: datetime
    old: VimStatus
    new: VimStatus


@dataclass(frozen=True)
class Showing:
    """`now`: the database's time; `vims`: at most SHOWN_MAX, those that are not REACHABLE first, of them the latest to
    become so; `found`: how many there are on all pages; `moves`: of these VIMs since `known_from`, the oldest first."""

    now: datetime
    by_status: Mapping[VimStatus, int]
    found: int
    page: int
    pages: int
    vims: Sequence[Vim]
    known_from: datetime
    moves: Mapping[str, Sequence[Moved]]


def trouble_with(text: str, limit: int) -> str | None:
    """Why a database cannot keep `text`, or None."""
    if len(text) > limit:
        return f"it has {len(text)} characters, more than {limit}"
    if "\0" in text:
        return "it has a NUL character"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "it has half of a character (a lone surrogate)"
    return None


def is_plain(text: str) -> bool:
    """Whether every database can keep these characters, as is plain at first sight. False says nothing."""
    return text.isascii() and "\0" not in text


def check_text(field: str, text: str, limit: int) -> str:
    """The text. Raises InvalidInput for one that not every database can keep."""
    problem = trouble_with(text, limit)
    if problem:
        raise InvalidInput(field, problem, remedy=f"Give at most {limit} characters of valid Unicode, without NUL")
    return text


def check_seq(seq: int | None) -> None:
    """Raises InvalidInput for a number that a database cannot keep."""
    if seq is not None and not 0 <= seq <= SEQ_MAX:
        raise InvalidInput("seq", "it is out of range", remedy=f"Give a number from 1 to {SEQ_MAX}")


def probe_text(probe: Mapping[str, Any]) -> str:
    """A probe's settings as they are stored. Raises InvalidInput for what is not JSON."""
    try:
        text = json.dumps(probe, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InvalidInput("probe", f"it is not JSON ({error})", remedy="Give a JSON object") from None
    return check_text("probe", text, PROBE_MAX)
