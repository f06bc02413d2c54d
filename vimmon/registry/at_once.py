"""PostgreSQL: a batch of reports that names no VIM twice, as one statement that commits by itself.

It locks the rows in the order of their ids, writes those whose report the guard lets pass, with their history, and
tells what it found and what it wrote. So the UPDATE decides; of what it did not take, `decide` says why.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Select,
    Text,
    any_,
    bindparam,
    case,
    cast,
    column,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from vimmon.errors import BatchFailed
from vimmon.registry.guarding import guarded, lock_of, words_of
from vimmon.registry.models import STATUS_CHANGES, VIMS, utc_now
from vimmon.registry.reports import NO_ROW, Recorded, RecordVerdict, Reported, RowState, applied, decide
from vimmon.registry.transactions import ask
from vimmon.vim import known_status

SAID: Mapping[str, TypeEngine[Any]] = {
    **dict.fromkeys(("vim_id", "action_id", "holder", "status", "reason"), Text()),
    "seq": BigInteger(),
}
CHANGED = ("vim_id", "at", "old", "new", "reason", "generation", "seq", "action_id")
VIM_ID = attrgetter("vim_id")
NUL = b"\\u0000"


def _write() -> Select[Any]:
    # One parameter, whatever their number: the statement is prepared once, and nothing is adapted row by row.
    rows = func.json_to_recordset(cast(bindparam("said", type_=Text()), JSON))
    table = rows.table_valued(*(column(name, kind) for name, kind in SAID.items()), name="reports")
    said = select(table.render_derived(with_types=True)).cte("said")
    # As an array, so that the rows are found by their key, whatever a planner thinks of the JSON.
    locked = lock_of(VIMS.c.id == any_(func.array(select(said.c.vim_id).scalar_subquery()))).cte("locked")
    # The clock is read when a row's lock was taken, so that it does not run backwards from one writer to the next.
    seen = select(locked, utc_now().label("now")).subquery("seen")
    new = {
        "vim": said.c.vim_id,
        "action": said.c.action_id,
        "by": said.c.holder,
        "new": said.c.status,
        "why": func.nullif(said.c.reason, literal_column("''")),
        "seq": func.coalesce(said.c.seq, seen.c.status_seq + literal_column("1")),
        "since": case((seen.c.status == said.c.status, seen.c.status_since), else_=seen.c.now),
        "now": seen.c.now,
    }
    written = (
        guarded(new)
        .where(VIMS.c.id == seen.c.id)
        .returning(
            VIMS.c.id,
            VIMS.c.updated_at,
            seen.c.status.label("old"),
            *(VIMS.c[name] for name in ("status", "reason", "generation", "status_seq", "action_id")),
        )
        .cte("written")
    )
    changes = select(*written.c).where(written.c.old != written.c.status)
    history = insert(STATUS_CHANGES).from_select(CHANGED, changes).returning(STATUS_CHANGES.c.id).cte("history")
    found = locked.outerjoin(written, written.c.id == locked.c.id)
    return select(locked, written.c.id.is_not(None)).select_from(found).add_cte(history)


WRITE = words_of(_write(), postgresql.dialect())  # type: ignore[no-untyped-call]  # SQLAlchemy has no types here


def said_by(reports: Sequence[Reported]) -> str | None:
    """The reports as the statement takes them; None for those that it cannot be told, or not in one go."""
    if len({*map(VIM_ID, reports)}) < len(reports):
        return None
    try:
        said = orjson.dumps(reports)
    except orjson.JSONEncodeError:  # half of a character
        return None
    return None if NUL in said else said.decode()


def record_at_once(connection: Connection, reports: Sequence[Reported], said: str) -> list[Recorded]:
    """What became of each report, all of which are committed now. Raises BatchFailed where `decide` sees it otherwise:
    what was written stays so, and is known when it is said again."""
    found = {row[0]: row for row in ask(connection, WRITE, {"said": said})}
    recorded: list[Recorded] = []
    refused = 0
    for report in reports:
        row: Sequence[Any] | None = found.get(report.vim_id)
        if row is None:
            recorded.append(NO_ROW)
            continue
        _, generation, action_id, status, seq, holder, _, deleted_at, taken = row
        if taken:
            recorded.append(applied(report, generation, seq, known_status(status)))
            continue
        wanted = action_id if deleted_at is None else None
        why = decide(RowState(generation, wanted, known_status(status), seq, holder), report)
        refused += why.verdict is RecordVerdict.APPLIED
        recorded.append(why)
    if refused:
        written = sum(row[-1] for row in found.values())
        raise BatchFailed(f"the database took {written} of {written + refused} statuses")
    return recorded
