"""Rows of the tables as values, and values as columns."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import IntegrityError

from vimmon.errors import NameTaken, VimNotFound
from vimmon.registry.models import ID_MAX, VIM_ID_MAX, VIMS
from vimmon.registry.values import StatusChange, Wanted, check_text, probe_text, trouble_with
from vimmon.vim import AUTH_URL_MAX, NAME_MAX, Vim, VimOrigin, VimType, known_status


def living(connection: Connection, vim_id: str, *, lock: bool = False) -> Row[Any]:
    """The row of a living VIM; with `lock` nobody else changes it meanwhile. Raises VimNotFound."""
    if trouble_with(vim_id, VIM_ID_MAX):
        raise VimNotFound(vim_id)
    query = select(VIMS).where(VIMS.c.id == vim_id, VIMS.c.deleted_at.is_(None))
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise VimNotFound(vim_id)
    return row


def columns_of(
    *,
    action_id: str,
    auth_url: str | None,
    probe: Mapping[str, Any] | None,
    vim_type: VimType | None,
    name: str | None,
) -> dict[str, Any]:
    """The columns to write; none for what is None. Raises InvalidInput for what a database cannot keep."""
    columns: dict[str, Any] = {"action_id": check_text("action_id", action_id, ID_MAX)}
    if auth_url is not None:
        columns["auth_url"] = check_text("auth_url", auth_url, AUTH_URL_MAX)
    if probe is not None:
        columns["probe"] = probe_text(probe)
    if vim_type is not None:
        columns["type"] = vim_type
    if name is not None:
        columns |= name_columns(name)
    return columns


def name_columns(name: str) -> dict[str, str]:
    check_text("name", name, NAME_MAX)
    return {"name": name, "live_name": name}


@contextmanager
def unique_name(name: str | None) -> Iterator[None]:
    """Turns the refusal of a name that a living VIM has into NameTaken."""
    try:
        yield
    except IntegrityError as error:
        if name is None or "live_name" not in str(error.orig):  # as its constraint is called
            raise
        raise NameTaken(name) from None


def vim_of(row: Row[Any]) -> Vim:
    return Vim(
        id=row.id,
        name=row.name,
        type=VimType(row.type),
        auth_url=row.auth_url,
        probe=json.loads(row.probe),
        status=known_status(row.status),
        reason=row.reason,
        status_since=row.status_since,
        action_id=row.action_id,
        generation=row.generation,
        execution_id=row.execution_id,
        origin=VimOrigin(row.origin),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def wanted_of(row: Row[Any]) -> Wanted:
    return Wanted(
        vim_id=row.id,
        generation=row.generation,
        action_id=row.action_id,
        auth_url=row.auth_url,
        type=VimType(row.type),
        probe=json.loads(row.probe),
        execution_id=row.execution_id,
        deleted=row.deleted_at is not None,
    )


def change_of(row: Row[Any]) -> StatusChange:
    return StatusChange(
        vim_id=row.vim_id,
        at=row.at,
        old=known_status(row.old),
        new=known_status(row.new),
        reason=row.reason,
        generation=row.generation,
        seq=row.seq,
        action_id=row.action_id,
    )
