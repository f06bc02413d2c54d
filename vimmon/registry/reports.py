"""Decides what a status report does to a VIM's row: it is applied, known already, or not from the wanted action."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from vimmon.vim import VimStatus


class Reported(Protocol):
    """What a monitor says of its VIM. `seq` None: the row's next one. No reason: None, or empty.

    It is a dataclass: so a batch is written out without looking at each.
    """

    @property
    def vim_id(self) -> str: ...
    @property
    def action_id(self) -> str: ...
    @property
    def status(self) -> VimStatus: ...
    @property
    def seq(self) -> int | None: ...
    @property
    def holder(self) -> str: ...
    @property
    def reason(self) -> str | None: ...


@dataclass(frozen=True)
class Report:
    """The plainest of them."""

    vim_id: str
    action_id: str
    status: VimStatus
    seq: int | None
    holder: str
    reason: str | None


class RowState(NamedTuple):
    """What a VIM's row says of its monitor. `action_id` None: de-registered, nobody may report."""

    generation: int
    action_id: str | None
    status: VimStatus
    seq: int
    holder: str | None


class RecordVerdict(StrEnum):
    APPLIED = "applied"
    KNOWN = "known"  # this seq, or a newer one, is in the row
    BAD_ACTION = "bad_action"  # not from the wanted action, or not from the one that holds it


class Recorded(NamedTuple):
    """What became of a report; the row after it, and the status before it. Both are None where there is no row."""

    verdict: RecordVerdict
    row: RowState | None
    old_status: VimStatus | None


NO_ROW = Recorded(RecordVerdict.BAD_ACTION, None, None)


def decide(row: RowState | None, report: Reported) -> Recorded:
    """What `report` does to `row`, as the guard of the UPDATE has it."""
    if row is None:
        return NO_ROW
    generation, action_id, old, seq, holder = row
    if action_id != report.action_id or (holder is not None and holder != report.holder):
        return Recorded(RecordVerdict.BAD_ACTION, row, old)
    if report.seq is not None and report.seq <= seq:
        return Recorded(RecordVerdict.KNOWN, row, old)
    return applied(report, generation, seq, old)


def applied(report: Reported, generation: int, seq: int, old: VimStatus) -> Recorded:
    """What became of a report that the guard let pass: the row was of this generation, seq and status."""
    after = RowState(generation, report.action_id, report.status, report.seq or seq + 1, report.holder)
    return Recorded(RecordVerdict.APPLIED, after, old)
