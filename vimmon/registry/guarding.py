"""What a status is written with: the lock of the rows, and the one UPDATE that carries the whole guard."""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import BigInteger, ColumnElement, Dialect, Select, Text, Update, or_, select, update
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import CompilerElement
from sqlalchemy.types import TypeEngine

from vimmon.registry.models import VIMS, UtcDateTime

LOCKED = ("id", "generation", "action_id", "status", "status_seq", "holder", "status_since", "deleted_at")
NEW: Mapping[str, TypeEngine[Any]] = {  # what a row becomes with a report
    **dict.fromkeys(("vim", "action", "by", "new", "why"), Text()),
    "seq": BigInteger(),
    "since": UtcDateTime(),
    "now": UtcDateTime(),
}


def guarded(new: Mapping[str, ColumnElement[Any]]) -> Update:
    """The UPDATE of the rows that `new`, of the names of NEW, is about, which changes none that its report may not."""
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


def lock_of(wanted: ColumnElement[bool]) -> Select[Any]:
    """The rows, locked in the order of their ids."""
    return select(*(VIMS.c[name] for name in LOCKED)).where(wanted).order_by(VIMS.c.id).with_for_update()


def words_of(statement: CompilerElement, dialect: Dialect) -> str:
    """The statement as a driver takes it, made once: to look it up for each batch would cost as much as to run it."""
    return str(statement.compile(dialect=dialect))


def words_and_order_of(statement: CompilerElement, dialect: Dialect) -> tuple[str, Callable[[Mapping[str, Any]], Any]]:
    """The same for a driver that wants its parameters in their order: which is that of their names in a mapping."""
    compiled = cast(SQLCompiler, statement.compile(dialect=dialect))
    return str(compiled), itemgetter(*compiled.positiontup or ())
