"""What the reconciler reads and writes: all VIMs at a glance, a new generation, a status that nobody stands for.

Every restart and every verdict is guarded by what was read: two reconcilers that come to the same conclusion change a
VIM once.
"""

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Engine, bindparam, case, insert, select, type_coerce, update

from vimmon.errors import InvalidInput
from vimmon.probes import probe_for
from vimmon.registry.models import REASON_MAX, STATUS_CHANGES, VIMS
from vimmon.registry.rows import wanted_of
from vimmon.registry.transactions import clock, read, write
from vimmon.registry.values import Glance
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


class Repair:
    """Raises DatabaseUnreachable and SchemaOutdated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def glance(self) -> list[Glance]:
        """Every VIM, those that are de-registered and not yet purged included."""

        def work(connection: Connection) -> list[Glance]:
            now = clock(connection).replace(tzinfo=None)
            found = connection.execute(select(*GLANCED).execution_options(yield_per=GLANCED_AT_ONCE))
            return [_glance(row, now) for some in found.partitions() for row in some]

        return read(self._engine, work)

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


def _glance(row: Any, now: datetime) -> Glance:
    vim_id, generation, action_id, status, seq, holder, execution_id, starts, awaited_since, deleted = row
    # Of a time that is to come nobody would take notice: the database's clock was set back.
    awaited_s = abs((now - awaited_since).total_seconds()) if awaited_since else 0.0
    action_id, status = None if deleted else action_id, known_status(status)
    return Glance(vim_id, generation, action_id, status, seq, holder, execution_id, starts, awaited_s, bool(deleted))
