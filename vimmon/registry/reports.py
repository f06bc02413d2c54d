"""Decides what a status report does to a VIM's row: it is applied, known already, or not from the wanted action."""

from enum import StrEnum
from typing import NamedTuple

from vimmon.vim import VimStatus


class Report(NamedTuple):
    """What a monitor says of its VIM. `seq` None: the row's next one."""

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


def decide(row: RowState | None, report: Report) -> Recorded:
    """What `report` does to `row`, as the guard of the UPDATE has it."""
    old = row.status if row else None
    if row is None or row.action_id != report.action_id or row.holder not in (None, report.holder):
        return Recorded(RecordVerdict.BAD_ACTION, row, old)
    seq = row.seq + 1 if report.seq is None else report.seq
    if seq <= row.seq:
        return Recorded(RecordVerdict.KNOWN, row, old)
    after = RowState(row.generation, row.action_id, report.status, seq, report.holder)
    return Recorded(RecordVerdict.APPLIED, after, old)
