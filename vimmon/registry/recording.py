"""Writes a batch of status reports: two to four statements in one transaction, however many there are.

The rows are locked first, in the order of their ids, so that two conductors wait for each other and never both. The
UPDATE carries the whole guard all the same, and its row count is checked: no lock is trusted for what may be written.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    String,
    Text,
    Update,
    any_,
    bindparam,
    cast,
    column,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.types import TypeEngine

from vimmon.errors import BatchFailed
from vimmon.registry.models import HOLDER_MAX, REASON_MAX, STATUS_CHANGES, VIM_ID_MAX, VIMS, UtcDateTime, utc_now
from vimmon.registry.reports import Recorded, RecordVerdict, Report, RowState, decide
from vimmon.registry.transactions import clock
from vimmon.registry.values import check_seq, check_text, trouble_with
from vimmon.vim import known_status

NEW: Mapping[str, TypeEngine[Any]] = {  # what a row becomes with a report
    **dict.fromkeys(("vim", "action", "by", "new", "why"), Text()),
    "seq": BigInteger(),
    "since": UtcDateTime(),
    "now": UtcDateTime(),
}


def _guarded(new: Mapping[str, ColumnElement[Any]]) -> Update:
    """The UPDATE of the rows that `new` is about, which changes none that its report may not."""
    return (
        update(VIMS)
        .where(
            VIMS.c.id == new["vim"],
            VIMS.c.action_id == new["action"],
            VIMS.c.status_seq < new["seq"],
            or_(VIMS.c.holder.is_(None), VIMS.c.holder == new["by"]),
            VIMS.c.deleted_at.is_(None),
        )
        .values(
            status=new["new"],
            reason=new["why"],
            status_seq=new["seq"],
            holder=new["by"],
            status_since=new["since"],
            updated_at=new["now"],
        )
    )


def _recordset(parameter: str, columns: Mapping[str, TypeEngine[Any]]) -> Mapping[str, ColumnElement[Any]]:
    """PostgreSQL: the columns of rows that come as JSON, in one parameter however many they are."""
    rows = func.json_to_recordset(cast(bindparam(parameter, type_=Text()), JSON))
    table = rows.table_valued(*(column(name, kind) for name, kind in columns.items()), name=f"n_{parameter}")
    return dict(table.render_derived(with_types=True).c)


def _write_of_json() -> Select[int]:
    """PostgreSQL: the same UPDATE and the INSERT as one statement. How many rows the UPDATE took."""
    # The ids once more, apart: so the rows are found by their key, whatever a planner thinks of the JSON.
    guarded = _guarded(_recordset("updates", NEW)).where(_is_one_of(bindparam("vims", type_=ARRAY(String))))
    updated = guarded.returning(VIMS.c.id).cte("updated")
    columns = {one.name: one.type for one in STATUS_CHANGES.c if one.name != "id"}
    changes = insert(STATUS_CHANGES).from_select(list(columns), select(*_recordset("changes", columns).values()))
    return select(func.count()).select_from(updated).add_cte(changes.returning(STATUS_CHANGES.c.id).cte("inserted"))


def _is_one_of(vim_ids: BindParameter[Any]) -> ColumnElement[bool]:
    """PostgreSQL: in one parameter, so that the statement is the same for any number, and is prepared only once."""
    return VIMS.c.id == any_(vim_ids)


def _lock_of(wanted: ColumnElement[bool]) -> Select[Any]:
    columns = ("id", "generation", "action_id", "status", "status_seq", "holder", "status_since", "deleted_at")
    return select(*(VIMS.c[name] for name in columns)).where(wanted).order_by(VIMS.c.id).with_for_update()


_any = VIMS.c.id.in_(bindparam("vims", expanding=True))
LOCK_AND_CLOCK = select(_lock_of(_any).cte("locked"), utc_now())
LOCK = {
    "mysql": _lock_of(_any),
    "postgresql": select(_lock_of(_is_one_of(bindparam("vims", type_=ARRAY(String)))).cte("locked"), utc_now()),
}
GUARDED_UPDATE = _guarded({name: bindparam(name) for name in NEW})
WRITE_OF_JSON = _write_of_json()


def check(report: Report) -> None:
    """Raises InvalidInput for what a database cannot keep. An id that it cannot keep belongs to no VIM: no error."""
    check_text("holder", report.holder, HOLDER_MAX)
    check_text("reason", report.reason or "", REASON_MAX)
    check_seq(report.seq)


def record(connection: Connection, reports: Sequence[Report]) -> list[Recorded]:
    """What became of each report. Raises BatchFailed when the guard of the UPDATE says otherwise."""
    vim_ids = {report.vim_id for report in reports if not trouble_with(report.vim_id, VIM_ID_MAX)}
    rows, since, now = _lock(connection, sorted(vim_ids))
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


def _lock(connection: Connection, vim_ids: list[str]) -> tuple[dict[str, RowState], dict[str, datetime], datetime]:
    """The rows as they are until the transaction ends, since when they have their status, and what time it is.

    The time is asked after the last lock was taken, so that it does not run backwards from one writer to the next:
    MariaDB's is that of the statement's beginning, so there it takes a statement of its own.
    """
    rows: dict[str, RowState] = {}
    since: dict[str, datetime] = {}
    times: list[datetime] = []
    found = connection.execute(LOCK.get(connection.dialect.name, LOCK_AND_CLOCK), {"vims": vim_ids})
    for vim_id, generation, action_id, status, seq, holder, status_since, deleted_at, *time in found:
        wanted = action_id if deleted_at is None else None
        rows[vim_id] = RowState(generation, wanted, known_status(status), seq, holder)
        since[vim_id] = status_since
        times += time
    return rows, since, max(times) if times else clock(connection)


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


def _write(connection: Connection, updates: Sequence[dict[str, Any]], changes: Sequence[dict[str, Any]]) -> None:
    if not updates:
        return
    if connection.dialect.name == "postgresql":
        given = {"updates": orjson.dumps(updates).decode(), "changes": orjson.dumps(changes).decode()}
        written = connection.execute(WRITE_OF_JSON, {**given, "vims": [one["vim"] for one in updates]}).scalar_one()
    else:
        written = connection.execute(GUARDED_UPDATE, updates).rowcount
        if changes:
            connection.execute(insert(STATUS_CHANGES), changes)
    if written != len(updates):
        raise BatchFailed(f"the database took {written} of {len(updates)} statuses")
