"""A lease: the right of one action to report on one VIM; and what an action must conclude from the lease it reads.

An action leaves only on proof that a newer one is wanted. A lease that is missing, older or unreadable proves nothing:
Redis may have lost it, or be behind.
"""

import re
from enum import Enum, auto
from typing import NamedTuple

from vimmon.vim import VimStatus

TOMBSTONE = "-"
LEAP_MAX = 1_000_000  # no generation and no seq is ever so far ahead: what says so is garbage
NUMBER_DIGITS_MAX = 15  # with more digits it is garbage: neither Lua nor JSON could count on from there
NUMBER = rf"([0-9]{{1,{NUMBER_DIGITS_MAX}}})"
STATUSES = {str(status): status for status in VimStatus}
LEASE = re.compile(rf"{NUMBER}:(.+)", re.DOTALL)
STATUS = re.compile(rf"{NUMBER}:{NUMBER}:({'|'.join(STATUSES)}):(.*)", re.DOTALL)


class Lease(NamedTuple):
    """Who may report on a VIM. `generation` only grows; `action_id` None: nobody, the VIM is de-registered."""

    generation: int
    action_id: str | None

    def __str__(self) -> str:
        return lease_text(self.generation, self.action_id)


class CommittedStatus(NamedTuple):
    """What Redis remembers of the last status that the database took."""

    generation: int
    seq: int
    status: VimStatus
    holder: str

    def __str__(self) -> str:
        return status_text(*self)


class Verdict(Enum):
    HELD = auto()  # the lease names this action
    ASK = auto()  # it proves nothing: go on, and ask the conductor
    EXIT = auto()  # a newer action is wanted, or none


def lease_text(generation: int, action_id: str | None) -> str:
    """The value of a lease key."""
    return f"{generation}:{action_id or TOMBSTONE}"


def status_text(generation: int, seq: int, status: VimStatus, holder: str) -> str:
    """The value of a status key."""
    return f"{generation}:{seq}:{status}:{holder}"


def parse_lease(text: str | None) -> Lease | None:
    """The lease in a value read from Redis; None for a missing or unreadable one."""
    found = LEASE.fullmatch(text or "")
    if found is None:
        return None
    generation, action_id = found.groups()
    return Lease(int(generation), None if action_id == TOMBSTONE else action_id)


def parse_status(text: str | None) -> CommittedStatus | None:
    """The status in a value read from Redis; None for a missing or unreadable one."""
    found = STATUS.fullmatch(text or "")
    if found is None:
        return None
    generation, seq, status, holder = found.groups()
    return CommittedStatus(int(generation), int(seq), STATUSES[status], holder)


def judge(lease: Lease | None, *, generation: int, action_id: str) -> Verdict:
    """What the action `action_id` of `generation` concludes from the lease it read."""
    if lease is None or lease.generation < generation or lease.generation > generation + LEAP_MAX:
        return Verdict.ASK
    if lease.generation > generation or lease.action_id is None:
        return Verdict.EXIT
    return Verdict.HELD if lease.action_id == action_id else Verdict.ASK
