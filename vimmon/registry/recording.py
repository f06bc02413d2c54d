"""Writes a batch of status reports: one to four statements in one transaction, however many there are.

The rows are locked first, in the order of their ids, so that two conductors wait for each other and never both. The
UPDATE carries the whole guard all the same, and its row count is checked: no lock is trusted for what may be written.

On PostgreSQL a batch that names no VIM twice is one statement, which commits by itself: it locks, writes under the same
guard, and tells what it found. There the UPDATE decides, and `decide` only says why.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import ARRAY, Connection, Engine, String, any_, bindparam, func, insert, select
from sqlalchemy.dialects import sqlite

from vimmon.errors import BatchFailed
from vimmon.registry.at_once import record_at_once, said_by
from vimmon.registry.guarding import LOCKED, NEW, guarded, lock_of, words_and_order_of
from vimmon.registry.models import HOLDER_MAX, REASON_MAX, STATUS_CHANGES, VIM_ID_MAX, VIMS, utc_now
from vimmon.registry.reports import Recorded, RecordVerdict, Reported, RowState, decide
from vimmon.registry.transactions import ask, clock, tell, write, write_at_once
from vimmon.registry.values import check_seq, check_text, is_plain, trouble_with
from vimmon.vim import known_status

Moment = datetime | str  # SQLite's are left as its driver has them

LOCK = lock_of(VIMS.c.id.in_(bindparam("vims", expanding=True)))
LOCK_OF_ARRAY = select(lock_of(VIMS.c.id == any_(bindparam("vims", type_=ARRAY(String)))).cte("locked"), utc_now())
# Not a join, in which a planner with old statistics may look for each of all rows in the JSON.
EACH = select(func.json_each(bindparam("vims")).table_valued("value").c.value)
READ_OF_JSON = select(*(VIMS.c[name] for name in LOCKED), utc_now()).where(VIMS.c.id.in_(EACH))
HOLDER, REASON, SEQ = map(attrgetter, ("holder", "reason", "seq"))
UPDATE = guarded({name: bindparam(name) for name in NEW})
CHANGE: Mapping[str, str] = {  # column → parameter; those of UPDATE, and two more
    **{name: name for name in ("old", "new", "generation", "seq")},
    **{"vim_id": "vim", "at": "now", "reason": "why", "action_id": "action"},
}
INSERT = insert(STATUS_CHANGES).values({column: bindparam(name) for column, name in CHANGE.items()})
LITE = sqlite.dialect()
(LITE_READ, _), (LITE_UPDATE, in_update), (LITE_INSERT, in_insert) = (
    words_and_order_of(one, LITE) for one in (READ_OF_JSON, UPDATE, INSERT)
)


def check(reports: Sequence[Reported]) -> None:
    """Raises InvalidInput for what a database cannot keep. An id that it cannot keep belongs to no VIM: no error."""
    for field, limit, texts in (
        ("holder", HOLDER_MAX, [*map(HOLDER, reports)]),
        ("reason", REASON_MAX, [reason or "" for reason in map(REASON, reports)]),
    ):
        if max(map(len, texts)) > limit or not is_plain("".join(texts)):
            for text in texts:
                check_text(field, text, limit)
    seqs = {*map(SEQ, reports)} - {None}
    if seqs:
        check_seq(min(seqs))
        check_seq(max(seqs))


def record(engine: Engine, reports: Sequence[Reported]) -> list[Recorded]:
    """What became of each report. Raises BatchFailed when the guard of the UPDATE says otherwise than `decide`."""
    said = said_by(reports) if engine.dialect.name == "postgresql" else None
    if said is not None:
        return write_at_once(engine, lambda connection: record_at_once(connection, reports, said))
    return write(engine, lambda connection: _record(connection, reports))


def _record(connection: Connection, reports: Sequence[Reported]) -> list[Recorded]:
    vim_ids = {report.vim_id for report in reports}
    if not is_plain("".join(vim_ids)):
        vim_ids = {vim_id for vim_id in vim_ids if not trouble_with(vim_id, VIM_ID_MAX)}
    rows, since, now = _lock(connection, sorted(vim_ids))
    recorded: list[Recorded] = []
    updates: dict[str, dict[str, Any]] = {}
    changes: list[dict[str, Any]] = []
    for report in reports:
        vim_id = report.vim_id
        became = decide(rows.get(vim_id), report)
        recorded.append(became)
        verdict, after, old = became
        if verdict is not RecordVerdict.APPLIED or after is None:
            continue
        rows[vim_id] = after
        generation, _, status, seq, holder = after
        if changed := status != old:
            since[vim_id] = now
        updates[vim_id] = written = {
            "vim": vim_id,
            "action": report.action_id,
            "seq": seq,
            "by": holder,
            "old": str(old),
            "new": str(status),
            "why": report.reason or None,
            "since": since[vim_id],
            "now": now,
            "generation": generation,
        }
        if changed:
            changes.append(written)
    _write(connection, list(updates.values()), changes)
    return recorded


def _lock(connection: Connection, vim_ids: list[str]) -> tuple[dict[str, RowState], dict[str, Moment], Moment]:
    """The rows as they are until the transaction ends, since when they have their status, and what time it is.

    The time is asked after the last lock was taken, so that it does not run backwards from one writer to the next:
    MariaDB's is that of the statement's beginning, so there it takes a statement of its own.
    """
    found, now = _locked(connection, vim_ids)
    rows: dict[str, RowState] = {}
    since: dict[str, Moment] = {}
    for vim_id, generation, action_id, status, seq, holder, status_since, deleted_at, *_ in found:
        rows[vim_id] = RowState(
            generation, action_id if deleted_at is None else None, known_status(status), seq, holder
        )
        since[vim_id] = status_since
    return rows, since, now


def _locked(connection: Connection, vim_ids: list[str]) -> tuple[Sequence[Sequence[Any]], Moment]:
    match connection.dialect.name:
        case "sqlite":
            found: Sequence[Sequence[Any]] = ask(connection, LITE_READ, (orjson.dumps(vim_ids).decode(),))
        case "postgresql":
            found = connection.execute(LOCK_OF_ARRAY, {"vims": vim_ids}).all()
        case _:
            return connection.execute(LOCK, {"vims": vim_ids}).all(), clock(connection)
    return found, found[-1][-1] if found else clock(connection)


def _write(connection: Connection, updates: Sequence[dict[str, Any]], changes: Sequence[dict[str, Any]]) -> None:
    """Of both, what UPDATE and INSERT have parameters for."""
    if not updates:
        return
    if connection.dialect.name == "sqlite":
        written = tell(connection, LITE_UPDATE, [*map(in_update, updates)])
    else:
        written = connection.execute(UPDATE, [{name: one[name] for name in NEW} for one in updates]).rowcount
    if written != len(updates):
        raise BatchFailed(f"the database took {written} of {len(updates)} statuses")
    if changes and connection.dialect.name == "sqlite":
        tell(connection, LITE_INSERT, [*map(in_insert, changes)])
    elif changes:
        connection.execute(INSERT, [{name: one[name] for name in CHANGE.values()} for one in changes])
