"""Deletes what nobody needs any more, in transactions small enough that nobody waits for them."""

from datetime import timedelta
from functools import partial

from sqlalchemy import ColumnElement, Connection, Engine, Table, delete, select

from vimmon.registry.models import STATUS_CHANGES, VIMS
from vimmon.registry.transactions import clock, read, write
from vimmon.registry.values import Purged

CHUNK = 500


def purge(engine: Engine, *, history_days: float, purge_after_s: float) -> Purged:
    """How much went: status changes older than `history_days`; and VIMs that are clean and were de-registered longer
    than `purge_after_s` ago, with all of theirs."""
    now = read(engine, clock)
    changes = _delete(engine, STATUS_CHANGES, STATUS_CHANGES.c.at < now - timedelta(days=history_days))
    vims = 0
    gone = (VIMS.c.cleaned_at.is_not(None), VIMS.c.deleted_at < now - timedelta(seconds=purge_after_s))
    while victims := read(engine, partial(_chunk, table=VIMS, conditions=gone)):
        # The history first: nobody adds to that of a de-registered VIM, and without the row nobody would look for it.
        changes += _delete(engine, STATUS_CHANGES, STATUS_CHANGES.c.vim_id.in_(victims))
        vims += write(engine, partial(_delete_ids, table=VIMS, ids=victims, conditions=gone))
    return Purged(vims, changes)


def _delete(engine: Engine, table: Table, condition: ColumnElement[bool]) -> int:
    deleted = 0
    while ids := read(engine, partial(_chunk, table=table, conditions=(condition,))):
        deleted += write(engine, partial(_delete_ids, table=table, ids=ids))
    return deleted


def _chunk(connection: Connection, table: Table, conditions: tuple[ColumnElement[bool], ...]) -> list[object]:
    return list(connection.execute(select(table.c.id).where(*conditions).limit(CHUNK)).scalars())


def _delete_ids(
    connection: Connection, table: Table, ids: list[object], conditions: tuple[ColumnElement[bool], ...] = ()
) -> int:
    """`conditions` are asked anew under the lock: a VIM may have come back since its id was read."""
    # Locked in one order, so that two purges at once wait for each other and never both.
    locked = select(table.c.id).where(table.c.id.in_(ids), *conditions).order_by(table.c.id).with_for_update()
    return connection.execute(delete(table).where(table.c.id.in_(list(connection.execute(locked).scalars())))).rowcount
