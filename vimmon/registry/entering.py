"""Puts a new VIM into its row, or one that comes back under its id into the row that it left.

A row outlives its VIM until nobody can have its lease any more, and with it lives the generation: who comes back before
that gets the next one, and whoever still watches for the old one hears that it is not wanted.
"""

from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from vimmon.errors import VimExists
from vimmon.registry.models import STATUS_CHANGES, VIMS
from vimmon.registry.rows import unique_name
from vimmon.registry.transactions import clock
from vimmon.vim import VimStatus


def enter(connection: Connection, vim_id: str, columns: dict[str, Any]) -> None:
    """The VIM is there afterwards: PENDING, seq 0, no holder. Raises VimExists where it lives already; NameTaken."""
    before = connection.execute(select(VIMS).where(VIMS.c.id == vim_id).with_for_update()).one_or_none()
    if before is not None and before.deleted_at is None:
        raise VimExists(vim_id)
    now = clock(connection)
    columns = columns | {"status": VimStatus.PENDING, "status_seq": 0, "status_since": now, "awaited_since": now}
    columns |= {"created_at": now, "updated_at": now}
    with unique_name(columns["name"]):
        if before is None:
            _insert(connection, vim_id, columns)
            return
        clean = {"deleted_at": None, "cleaned_at": None, "reason": None, "execution_id": None}
        generation = before.generation + 1
        statement = update(VIMS).where(VIMS.c.id == vim_id)
        connection.execute(statement.values(**columns, **clean, generation=generation, starts=0))
    if before.status != VimStatus.PENDING:
        change = {"vim_id": vim_id, "at": now, "old": before.status, "new": VimStatus.PENDING, "seq": 0}
        change |= {"generation": generation, "action_id": columns["action_id"]}
        connection.execute(insert(STATUS_CHANGES).values(**change))


def _insert(connection: Connection, vim_id: str, columns: dict[str, Any]) -> None:
    try:
        connection.execute(insert(VIMS).values(id=vim_id, generation=1, **columns))
    except IntegrityError as error:
        if "live_name" in str(error.orig):
            raise
        raise VimExists(vim_id) from None  # somebody else has just registered it
