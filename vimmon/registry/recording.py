"""Writes a batch of status reports: four statements in one transaction, however many there are.

The rows are locked first, in the order of their ids, so that two conductors wait for each other and never both. The
UPDATE carries the whole guard all the same, and its row count is checked: no lock is trusted for what may be written.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, or_, select, update

from vimmon.errors import BatchFailed
from vimmon.registry.models import HOLDER_MAX, REASON_MAX, STATUS_CHANGES, VIM_ID_MAX, VIMS
from vimmon.registry.reports import Recorded, RecordVerdict, Report, RowState, decide
from vimmon.registry.transactions import clock
from vimmon.registry.values import check_seq, check_text, trouble_with
from vimmon.vim import VimStatus

GUARDED_UPDATE = (
    update(VIMS)
    .where(
        VIMS.c.id == bindparam("vim"),
        VIMS.c.action_id == bindparam("action"),
        VIMS.c.status_seq < bindparam("seq"),
        or_(VIMS.c.holder.is_(None), VIMS.c.holder == bindparam("by")),
        VIMS.c.deleted_at.is_(None),
    )
    .values(
        status=bindparam("new"),
        reason=bindparam("why"),
        status_seq=bindparam("seq"),
        holder=bindparam("by"),
        status_since=bindparam("since"),
        updated_at=bindparam("now"),
    )
)


def check(report: Report) -> None:
    """Raises InvalidInput for what a database cannot keep. An id that it cannot keep belongs to no VIM: no error."""
    check_text("holder", report.holder, HOLDER_MAX)
    check_text("reason", report.reason or "", REASON_MAX)
    check_seq(report.seq)


def record(connection: Connection, reports: Sequence[Report]) -> list[Recorded]:
    """What became of each report. Raises BatchFailed when the guard of the UPDATE says otherwise."""
    vim_ids = {report.vim_id for report in reports if not trouble_with(report.vim_id, VIM_ID_MAX)}
    rows, since = _lock(connection, sorted(vim_ids))
    now = clock(connection)
    recorded: list[Recorded] = []
    updates: dict[str, dict[str, Any]] = {}
    changes: list[dict[str, Any]] = []
    for report in reports:
        before = rows.get(report.vim_id)
        result = decide(before, report)
        recorded.append(result)
        if result.verdict is not RecordVerdict.APPLIED or before is None or result.row is None:
            continue
        rows[report.vim_id] = after = result.row
        if after.status != before.status:
            since[report.vim_id] = now
            changes.append(_change(report, before, after, now))
        updates[report.vim_id] = _update(report, after, since[report.vim_id], now)
    _write(connection, list(updates.values()), changes)
    return recorded


def _lock(connection: Connection, vim_ids: list[str]) -> tuple[dict[str, RowState], dict[str, datetime]]:
    """The rows as they are until the transaction ends, and since when they have their status."""
    columns = VIMS.c
    found = connection.execute(
        select(
            columns.id,
            columns.generation,
            columns.action_id,
            columns.status,
            columns.status_seq,
            columns.holder,
            columns.status_since,
            columns.deleted_at,
        )
        .where(columns.id.in_(vim_ids))
        .order_by(columns.id)
        .with_for_update()
    )
    rows: dict[str, RowState] = {}
    since: dict[str, datetime] = {}
    for vim_id, generation, action_id, status, seq, holder, status_since, deleted_at in found:
        wanted = action_id if deleted_at is None else None
        rows[vim_id] = RowState(generation, wanted, VimStatus(status), seq, holder)
        since[vim_id] = status_since
    return rows, since


def _update(report: Report, after: RowState, since: datetime, now: datetime) -> dict[str, Any]:
    return {
        "vim": report.vim_id,
        "action": report.action_id,
        "seq": after.seq,
        "by": after.holder,
        "new": after.status,
        "why": report.reason or None,
        "since": since,
        "now": now,
    }


def _change(report: Report, before: RowState, after: RowState, now: datetime) -> dict[str, Any]:
    return {
        "vim_id": report.vim_id,
        "at": now,
        "old": before.status,
        "new": after.status,
        "reason": report.reason or None,
        "generation": after.generation,
        "seq": after.seq,
        "action_id": report.action_id,
    }


def _write(connection: Connection, updates: list[dict[str, Any]], changes: list[dict[str, Any]]) -> None:
    if updates:
        written = connection.execute(GUARDED_UPDATE, updates).rowcount
        if written != len(updates):
            raise BatchFailed(f"the database took {written} of {len(updates)} statuses")
    if changes:
        connection.execute(insert(STATUS_CHANGES), changes)
