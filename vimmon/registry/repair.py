"""What the reconciler reads and writes: what Redis must say of each VIM, a closer look at some of them, a new
generation, a status that nobody stands for.

Every restart and every verdict is guarded by what was read: two reconcilers that come to the same conclusion change a
VIM once.
"""

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    DateTime,
    Engine,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    insert,
    select,
    type_coerce,
    update,
)

from vimmon.errors import InvalidInput
from vimmon.probes import probe_for
from vimmon.registry.models import REASON_MAX, STATUS_CHANGES, VIMS
from vimmon.registry.rows import wanted_of
from vimmon.registry.transactions import clock, read, write
from vimmon.registry.values import Expected, Glance
from vimmon.vim import VimStatus, known_status

NOT_KNOWN = (VimStatus.PENDING, VimStatus.UNKNOWN)
BULK = 500
GLANCED_AT_ONCE = 5000
GLANCED = (  # in the order of Glance
    VIMS.c.id,
    VIMS.c.generation,
    VIMS.c.action_id,
    VIMS.c.status,
    VIMS.c.status_seq,
    VIMS.c.holder,
    VIMS.c.execution_id,
    VIMS.c.starts,
    type_coerce(VIMS.c.awaited_since, DateTime()),  # without a zone: to add one costs more than all else here
    VIMS.c.deleted_at.is_not(None),
)
# What `lease_text` and `status_text` would make of it, made by the database: a pass reads this of every VIM.
_GENERATION = cast(VIMS.c.generation, String(20)) + ":"
_LEASE = _GENERATION + VIMS.c.action_id
_STATUS = _GENERATION + cast(VIMS.c.status_seq, String(20)) + ":" + VIMS.c.status + ":" + VIMS.c.holder
_HEARD = and_(VIMS.c.deleted_at.is_(None), VIMS.c.starts == 0, VIMS.c.status_seq > 0)
EXPECTED = select(VIMS.c.id, case((_HEARD, _LEASE)), case((_HEARD, _STATUS))).order_by(VIMS.c.id)


class Repair:
    """Raises DatabaseUnreachable and SchemaOutdated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ids(self) -> list[str]:
        """Of every VIM, in the order of this database, those that are de-registered and not yet purged included."""
        query = select(VIMS.c.id).order_by(VIMS.c.id)
        return read(self._engine, lambda connection: list(connection.execute(query).scalars()))

    def expected(self, *, after: str | None, until: str | None, most: int) -> Sequence[Expected]:
        """What Redis must say of the VIMs above the one id and up to the other, in the order of this database.

        `until` None: of no more than `most` VIMs.
        """
        query = EXPECTED if after is None else EXPECTED.where(VIMS.c.id > after)
        query = query.limit(most) if until is None else query.where(VIMS.c.id <= until)
        return read(self._engine, lambda connection: connection.execute(query).all())  # rows are tuples

    def glance(self, vim_ids: Sequence[str]) -> list[Glance]:
        """These VIMs, as far as there are rows of them."""

        def work(connection: Connection) -> list[Glance]:
            found: list[Glance] = []
            for start in range(0, len(vim_ids), BULK):
                query = select(*GLANCED).where(VIMS.c.id.in_(vim_ids[start : start + BULK]))
                found += _glances(connection, query)
            return found

        return read(self._engine, work) if vim_ids else []

    def glance_at_all(self) -> list[Glance]:
        """Every VIM, those that are de-registered and not yet purged included."""
        query = select(*GLANCED).execution_options(yield_per=GLANCED_AT_ONCE)
        return read(self._engine, lambda connection: _glances(connection, query))

    def restart(self, vim_id: str, *, generation: int, to: int, action_id: str, reason: str, in_vain: bool) -> bool:
        """Wants another action, of generation `to`; the status stays. False: the generation is another by now.

        `reason` is kept with a VIM of which nothing is known, for whoever asks why.
        """
        statement = (
            update(VIMS)
            .where(VIMS.c.id == vim_id, VIMS.c.generation == generation, VIMS.c.deleted_at.is_(None))
            .values(
                generation=to,
                action_id=action_id,
                status_seq=0,
                holder=None,
                execution_id=None,
                starts=VIMS.c.starts + 1 if in_vain else 0,
                reason=case((VIMS.c.status.in_(NOT_KNOWN), reason[:REASON_MAX]), else_=VIMS.c.reason),
            )
        )

        def work(connection: Connection) -> bool:
            now = clock(connection)
            return connection.execute(statement.values(updated_at=now, awaited_since=now)).rowcount == 1

        return write(self._engine, work)

    def intervals_s(self, vim_ids: Sequence[str]) -> dict[str, float]:
        """The probe intervals of these VIMs, as far as this version knows their probes."""
        found: list[Any] = []
        for start in range(0, len(vim_ids), BULK):
            query = select(VIMS).where(VIMS.c.id.in_(vim_ids[start : start + BULK]))
            found += read(self._engine, lambda connection, query=query: connection.execute(query).all())  # type: ignore[misc]  # mypy: default
        intervals_s: dict[str, float] = {}
        for row in found:
            with contextlib.suppress(InvalidInput, ValueError):  # written by another version of vimmon: not known here
                vim = wanted_of(row)
                intervals_s[vim.vim_id] = probe_for(vim.type, vim.auth_url, vim.probe).interval_s
        return intervals_s

    def arrived(self, vim_ids: Sequence[str]) -> None:
        """Their actions are held: what was in vain before does not count any more."""
        statement = update(VIMS).where(VIMS.c.id == bindparam("vim")).values(starts=0)
        if vim_ids:
            write(
                self._engine,
                lambda connection: connection.execute(statement, [{"vim": vim_id} for vim_id in sorted(vim_ids)]),
            )

    def unwatched(self, vim_id: str, *, generation: int, seq: int, reason: str) -> bool:
        """Makes the status UNKNOWN. False: somebody has reported since. The seq stays: one under way still wins."""
        guarded = (VIMS.c.id == vim_id, VIMS.c.generation == generation, VIMS.c.status_seq == seq)
        living = (*guarded, VIMS.c.deleted_at.is_(None), VIMS.c.status != VimStatus.UNKNOWN)

        def work(connection: Connection) -> bool:
            row = connection.execute(select(VIMS.c.status, VIMS.c.action_id).where(*living).with_for_update()).first()
            if row is None:
                return False
            now = clock(connection)
            why = reason[:REASON_MAX]
            values = {"status": VimStatus.UNKNOWN, "reason": why, "status_since": now, "updated_at": now}
            if not connection.execute(update(VIMS).where(*living).values(**values)).rowcount:
                return False
            change = {"vim_id": vim_id, "at": now, "old": row.status, "new": VimStatus.UNKNOWN, "reason": why}
            change |= {"generation": generation, "seq": seq, "action_id": row.action_id or ""}
            connection.execute(insert(STATUS_CHANGES).values(**change))
            return True

        return write(self._engine, work)


def _glances(connection: Connection, query: Select[Any]) -> list[Glance]:
    """Of each statement's rows the age is that which they had a moment before."""
    now = clock(connection).replace(tzinfo=None)
    return [_glance(row, now) for some in connection.execute(query).partitions(GLANCED_AT_ONCE) for row in some]


def _glance(row: Any, now: datetime) -> Glance:
    vim_id, generation, action_id, status, seq, holder, execution_id, starts, awaited_since, deleted = row
    # Of a time that is to come nobody would take notice: the database's clock was set back.
    awaited_s = abs((now - awaited_since).total_seconds()) if awaited_since else 0.0
    action_id, status = None if deleted else action_id, known_status(status)
    return Glance(vim_id, generation, action_id, status, seq, holder, execution_id, starts, awaited_s, bool(deleted))
