"""Finds a living VIM by what somebody types: its name, its id, or the start of either."""

from typing import Any

from sqlalchemy import Connection, Row, or_, select

from vimmon.errors import VimAmbiguous, VimNotFound
from vimmon.registry.models import VIMS
from vimmon.registry.rows import vim_of
from vimmon.registry.values import trouble_with
from vimmon.vim import NAME_MAX, Vim

LIVING = VIMS.c.deleted_at.is_(None)


def find(connection: Connection, typed: str) -> Vim:
    """The VIM of this name or id, or else the only one whose name or id begins so. A whole name is never a start.

    Raises VimNotFound, VimAmbiguous.
    """
    if not typed or trouble_with(typed, NAME_MAX):
        raise VimNotFound(typed)
    starts = or_(
        VIMS.c.live_name.startswith(typed, autoescape=True), VIMS.c.id.startswith(typed.lower(), autoescape=True)
    )
    # Compared once more here: SQLite's LIKE, and MariaDB's =, take for equal what is not.
    found = [row for row in connection.execute(select(VIMS).where(LIVING, starts)).all() if _begins(row, typed)]
    for exact in (row for row in found if typed in (row.id, row.name)):
        return vim_of(exact)
    if len(found) > 1:
        raise VimAmbiguous(typed, sorted((row.name, row.id) for row in found))
    if not found:
        raise VimNotFound(typed)
    return vim_of(found[0])


def names(connection: Connection, start: str, limit: int) -> list[str]:
    """Names that begin so, for whoever is still typing."""
    if trouble_with(start, NAME_MAX):
        return []
    query = select(VIMS.c.name).where(LIVING, VIMS.c.live_name.startswith(start, autoescape=True))
    found = connection.execute(query.order_by(VIMS.c.live_name).limit(limit)).scalars()
    return [name for name in found if name.startswith(start)]


def _begins(row: Row[Any], typed: str) -> bool:
    return bool(row.name.startswith(typed) or row.id.startswith(typed.lower()))
