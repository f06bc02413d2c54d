"""The VIMs in the database. Each method is one transaction, except `purge`, which is many small ones."""

import builtins
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, insert, or_, select, update
from sqlalchemy.exc import DBAPIError

from vimmon.errors import BatchFailed, InvalidInput, SchemaOutdated, VimChanged, VimNotFound
from vimmon.registry import backlog, finding, purging, recording
from vimmon.registry.entering import enter
from vimmon.registry.models import ID_MAX, INSTALLATION, STATUS_CHANGES, VIM_ID_MAX, VIMS, utc_now
from vimmon.registry.reports import Recorded, RecordVerdict, Report, Reported, RowState
from vimmon.registry.rows import change_of, columns_of, living, name_columns, unique_name, vim_of, wanted_of
from vimmon.registry.transactions import cause, clock, place, read, write
from vimmon.registry.values import Deregistered, Purged, StatusChange, Wanted, check_text, trouble_with
from vimmon.vim import NAME_MAX, Vim, VimOrigin, VimStatus, VimType

__all__ = [
    "BatchFailed",
    "Deregistered",
    "Purged",
    "RecordVerdict",
    "Recorded",
    "Report",
    "RowState",
    "StatusChange",
    "VimStore",
    "Wanted",
]


class VimStore:
    """Every method raises DatabaseUnreachable when the database does not answer, SchemaOutdated when its tables are
    missing or old, and InvalidInput for text that a database cannot keep."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def register(
        self,
        *,
        vim_id: str,
        name: str,
        vim_type: VimType,
        auth_url: str,
        probe: Mapping[str, Any],
        action_id: str,
        origin: VimOrigin = VimOrigin.OPERATOR,
    ) -> Vim:
        """A new VIM: PENDING, seq 0, generation 1; or the one after its last, where its row is still there.

        Raises NameTaken, and VimExists where one with this id lives.
        """
        columns = columns_of(action_id=action_id, auth_url=auth_url, probe=probe, vim_type=vim_type, name=name)
        columns["origin"] = origin
        check_text("vim_id", vim_id, VIM_ID_MAX)

        def work(connection: Connection) -> Vim:
            enter(connection, vim_id, columns)
            return vim_of(living(connection, vim_id))

        return write(self._engine, work)

    def get(self, id_or_name: str) -> Vim:
        """A living VIM. Raises VimNotFound."""
        if trouble_with(id_or_name, NAME_MAX):
            raise VimNotFound(id_or_name)
        query = select(VIMS).where(VIMS.c.deleted_at.is_(None))
        query = query.where(or_(VIMS.c.id == id_or_name, VIMS.c.live_name == id_or_name))
        found = read(self._engine, lambda connection: connection.execute(query).all())
        for key in ("id", "name"):
            for row in found:
                if getattr(row, key) == id_or_name:  # MariaDB takes "a" and "a " for equal
                    return vim_of(row)
        raise VimNotFound(id_or_name)

    def find(self, typed: str) -> Vim:
        """A living VIM by what somebody types: its name, its id, or a start of either that no other has.

        Raises VimNotFound, VimAmbiguous.
        """
        return read(self._engine, lambda connection: finding.find(connection, typed))

    def names(self, start: str, *, limit: int) -> builtins.list[str]:
        """Names of living VIMs that begin so."""
        return read(self._engine, lambda connection: finding.names(connection, start, limit))

    def history(self, vim_id: str, limit: int = 50) -> builtins.list[StatusChange]:
        """The newest status changes of a VIM, newest first; none for an unknown VIM."""
        check_text("vim_id", vim_id, VIM_ID_MAX)
        query = select(STATUS_CHANGES).where(STATUS_CHANGES.c.vim_id == vim_id)
        query = query.order_by(STATUS_CHANGES.c.id.desc()).limit(max(0, limit))
        return [change_of(row) for row in read(self._engine, lambda connection: connection.execute(query).all())]

    def restart(
        self,
        vim_id: str,
        *,
        expected_generation: int,
        action_id: str,
        auth_url: str | None = None,
        probe: Mapping[str, Any] | None = None,
        vim_type: VimType | None = None,
        name: str | None = None,
    ) -> Vim:
        """A new generation for a new action: PENDING, seq 0, no holder, no execution; what is None stays as it was.

        Raises VimNotFound, VimChanged when the generation is not the expected one, NameTaken.
        """
        columns = columns_of(action_id=action_id, auth_url=auth_url, probe=probe, vim_type=vim_type, name=name)
        columns |= {"generation": expected_generation + 1, "status": VimStatus.PENDING, "status_seq": 0}
        columns |= {"reason": None, "holder": None, "execution_id": None, "starts": 0}
        guarded = update(VIMS).where(VIMS.c.id == vim_id, VIMS.c.generation == expected_generation)

        def work(connection: Connection) -> Vim:
            before = living(connection, vim_id, lock=True)
            now = clock(connection)
            since = before.status_since if before.status == VimStatus.PENDING else now
            with unique_name(name):
                result = connection.execute(
                    guarded.values(**columns, status_since=since, updated_at=now, awaited_since=now)
                )
            if not result.rowcount:
                raise VimChanged(vim_id)
            if before.status != VimStatus.PENDING:
                change = {"vim_id": vim_id, "at": now, "old": before.status, "new": VimStatus.PENDING, "seq": 0}
                change |= {"generation": expected_generation + 1, "action_id": action_id}
                connection.execute(insert(STATUS_CHANGES).values(**change))
            return vim_of(living(connection, vim_id))

        return write(self._engine, work)

    def rename(self, vim_id: str, name: str) -> Vim:
        """Another name, and nothing else. Raises VimNotFound, NameTaken."""
        columns = name_columns(name)

        def work(connection: Connection) -> Vim:
            living(connection, vim_id, lock=True)
            with unique_name(name):
                statement = update(VIMS).where(VIMS.c.id == vim_id)
                connection.execute(statement.values(**columns, updated_at=clock(connection)))
            return vim_of(living(connection, vim_id))

        return write(self._engine, work)

    def deregister(self, vim_id: str, *, expected_generation: int | None = None) -> Deregistered:
        """No action is wanted any more, and the name is free. Raises VimNotFound, VimChanged."""

        def work(connection: Connection) -> Deregistered:
            before = living(connection, vim_id, lock=True)
            if expected_generation not in (None, before.generation):
                raise VimChanged(vim_id)
            now = clock(connection)
            connection.execute(
                update(VIMS)
                .where(VIMS.c.id == vim_id)
                .values(
                    deleted_at=now,
                    updated_at=now,
                    live_name=None,
                    action_id=None,
                    holder=None,
                    status_seq=0,
                    generation=before.generation + 1,
                )
            )
            return Deregistered(vim_id, before.action_id, before.execution_id, before.generation + 1)

        return write(self._engine, work)

    def wanted(self, vim_id: str) -> Wanted | None:
        """What a job needs to know of a VIM, de-registered ones included; None when there is no row of it."""
        query = select(VIMS).where(VIMS.c.id == check_text("vim_id", vim_id, VIM_ID_MAX))
        row = read(self._engine, lambda connection: connection.execute(query).one_or_none())
        return None if row is None else wanted_of(row)

    def record_execution(self, vim_id: str, *, generation: int, execution_id: str) -> bool:
        """Whether the execution was recorded: False when `generation` is not the row's any more."""
        check_text("execution_id", execution_id, ID_MAX)
        return self._update(vim_id, VIMS.c.generation == generation, execution_id=execution_id, awaited_since=utc_now())

    def record_clean(self, vim_id: str) -> bool:
        """That Mistral has nothing left of a de-registered VIM. False when known already, when it lives or is gone."""
        return self._update(vim_id, VIMS.c.deleted_at.is_not(None), VIMS.c.cleaned_at.is_(None), cleaned_at=utc_now())

    def record_statuses(self, reports: Sequence[Reported]) -> builtins.list[Recorded]:
        """What became of each report, in their order; all in one transaction.

        Raises BatchFailed for one that the database cannot take: repeat them one at a time. Nothing was written, or, on
        PostgreSQL, it is then said to be known.
        """
        try:
            if not reports:
                return []
            recording.check(reports)
            return recording.record(self._engine, reports)
        except InvalidInput as error:
            raise BatchFailed(str(error)) from error
        except DBAPIError as error:
            raise BatchFailed(f"the database refused a status: {cause(self._engine.url, error.orig)}") from error

    def installation_id(self) -> str:
        """The id that `upgrade` gave this database."""
        found = read(self._engine, lambda connection: connection.execute(select(INSTALLATION.c.id)).scalars().all())
        if len(found) != 1:
            raise SchemaOutdated(f"{place(self._engine.url)}: {len(found)} rows in the table installation, not one")
        return str(found[0])

    def purge(self, *, history_days: float, purge_after_s: float) -> Purged:
        """Delete status changes older than `history_days`, and the rows of VIMs that are clean and were de-registered
        longer than `purge_after_s` ago, with their history."""
        return purging.purge(self._engine, history_days=history_days, purge_after_s=purge_after_s)

    def list(self, status: VimStatus | None = None) -> builtins.list[Vim]:
        """The living VIMs, by name."""
        query = select(VIMS).where(VIMS.c.deleted_at.is_(None))
        if status is not None:
            query = query.where(VIMS.c.status == status)
        vims = [vim_of(row) for row in read(self._engine, lambda connection: connection.execute(query).all())]
        return sorted(vims, key=lambda vim: vim.name)  # not by the database: each has its own order of letters

    def uncleaned(self, *, older_than_s: float) -> builtins.list[str]:
        """VIMs that were de-registered that long ago, and of which Mistral may still have something."""
        return read(self._engine, lambda connection: backlog.uncleaned(connection, older_than_s))

    def _update(self, vim_id: str, *conditions: ColumnElement[bool], **columns: Any) -> bool:
        check_text("vim_id", vim_id, VIM_ID_MAX)
        statement = update(VIMS).where(VIMS.c.id == vim_id, *conditions).values(**columns, updated_at=utc_now())
        return write(self._engine, lambda connection: connection.execute(statement).rowcount) == 1
