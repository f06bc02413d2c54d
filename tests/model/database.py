"""The database: rows of VIMs, each method one transaction, and a backup of it all. It also writes down what was stored.

`registry/recording.py`, `at_once.py`, `repair.py`, `store.py` and `backlog.py` are what it stands for.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tests.model.guards import Guard, decide_without
from vimmon.errors import BatchFailed, DatabaseUnreachable, VimChanged, VimNotFound
from vimmon.registry.reports import Recorded, RecordVerdict, Report, RowState
from vimmon.registry.values import Glance
from vimmon.vim import VimStatus


@dataclass
class Row:
    vim_id: str
    action_id: str | None
    at: float  # when its generation was made, or its execution recorded
    updated: float
    generation: int = 1
    status: VimStatus = VimStatus.PENDING
    seq: int = 0
    holder: str | None = None
    execution_id: str | None = None
    starts: int = 0
    deleted: float | None = None
    cleaned: bool = False


@dataclass(frozen=True)
class Stored:
    """A status that a transaction committed, and who was wanted then."""

    vim_id: str
    action_id: str
    wanted: str | None
    holder: str
    seq: int
    status: VimStatus


@dataclass
class Tables:
    rows: dict[str, Row] = field(default_factory=dict)
    stored: list[Stored] = field(default_factory=list)


class Database:
    """`highest` is the highest generation there ever was of a VIM, in whatever backup; `lost` that which a restore
    took back, or may have contradicted."""

    def __init__(self, clock: Callable[[], float], missing: frozenset[Guard]) -> None:
        self._clock = clock
        self._missing = missing
        self.tables = Tables()
        self.away = False
        self.ever_stored: set[Stored] = set()
        self.highest: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self.restarts: list[tuple[float, str, str]] = []

    @property
    def rows(self) -> dict[str, Row]:
        return self.tables.rows

    def living(self) -> list[Row]:
        return [row for row in self.rows.values() if row.deleted is None]

    def backup(self) -> Tables:
        return copy.deepcopy(self.tables)

    def restore(self, backup: Tables) -> None:
        before, self.tables = self.tables, copy.deepcopy(backup)
        for vim_id, row in before.rows.items():
            now = self.rows.get(vim_id)
            if now is None or (now.generation, now.action_id, now.holder) != (
                row.generation,
                row.action_id,
                row.holder,
            ):
                self.lost[vim_id] = self.highest[vim_id]

    def _here(self) -> float:
        if self.away:
            raise DatabaseUnreachable("the database is away")
        return self._clock()

    # VimStore

    def register(self, vim_id: str, action_id: str) -> None:
        now = self._here()
        self.rows[vim_id] = Row(vim_id, action_id, now, now)
        self.highest[vim_id] = 1

    def get(self, vim_id: str) -> Row:
        self._here()
        row = self.rows.get(vim_id)
        if row is None or row.deleted is not None:
            raise VimNotFound(vim_id)
        return replace(row)

    def change(self, vim_id: str, *, expected_generation: int, action_id: str) -> Row:
        """VimStore.restart: what Registry.update writes."""
        self.get(vim_id)
        row = self.rows[vim_id]
        if row.generation != expected_generation:
            raise VimChanged(vim_id)
        self._new_generation(row, expected_generation + 1, action_id)
        row.status, row.starts = VimStatus.PENDING, 0
        return replace(row)

    def deregister(self, vim_id: str) -> tuple[str | None, int]:
        """The action that was wanted, and the generation of the tombstone."""
        before = self.get(vim_id)
        row = self.rows[vim_id]
        self._new_generation(row, row.generation + 1, None)
        row.execution_id, row.deleted = before.execution_id, self._clock()
        return before.action_id, row.generation

    def wanted(self, vim_id: str) -> Row | None:
        self._here()
        row = self.rows.get(vim_id)
        return None if row is None else replace(row)

    def record_execution(self, vim_id: str, *, generation: int, execution_id: str) -> bool:
        now = self._here()
        row = self.rows.get(vim_id)
        if row is None or row.generation != generation:
            return False
        row.execution_id, row.at, row.updated = execution_id, now, now
        return True

    def record_clean(self, vim_id: str) -> None:
        self._here()
        row = self.rows.get(vim_id)
        if row is not None and row.deleted is not None:
            row.cleaned = True

    def uncleaned(self, older_than_s: float) -> list[str]:
        before = self._here() - older_than_s
        return [
            row.vim_id
            for row in self.rows.values()
            if row.deleted is not None and row.deleted < before and not row.cleaned
        ]

    def purge(self, purge_after_s: float) -> None:
        before = self._here() - purge_after_s
        for row in list(self.rows.values()):
            if row.cleaned and row.deleted is not None and row.deleted < before:
                del self.rows[row.vim_id]

    # recording.record: the rows are locked while it decides, or it is one statement, so it is one step

    def record_statuses(self, reports: Sequence[Report]) -> list[Recorded]:
        self._here()
        return [self._record(report) for report in reports]

    def _record(self, report: Report) -> Recorded:
        row = self.rows.get(report.vim_id)
        wanted = row.action_id if row and row.deleted is None else None
        state = RowState(row.generation, wanted, row.status, row.seq, row.holder) if row else None
        result = decide_without(self._missing, state, report)
        if result.verdict is not RecordVerdict.APPLIED or row is None or result.row is None:
            return result
        if not self._guarded_update(row, report, result.row.seq):
            raise BatchFailed("the database took 0 of 1 statuses")
        stored = Stored(row.vim_id, report.action_id, wanted, report.holder, row.seq, row.status)
        self.tables.stored.append(stored)
        self.ever_stored.add(stored)
        return result

    def _guarded_update(self, row: Row, report: Report, seq: int) -> bool:
        """guarding.guarded"""
        where = {
            Guard.ACTION_ID_IN_UPDATE: row.action_id == report.action_id,
            Guard.SEQ_IN_UPDATE: row.seq < seq,
            Guard.HOLDER_IN_UPDATE: row.holder in (None, report.holder),
        }
        if row.deleted is not None or not all(holds for guard, holds in where.items() if guard not in self._missing):
            return False
        row.status, row.seq, row.holder, row.updated = report.status, seq, report.holder, self._clock()
        return True

    # Repair

    def glance(self) -> list[Glance]:
        now = self._here()
        return [
            Glance(
                vim_id=row.vim_id,
                generation=row.generation,
                action_id=row.action_id if row.deleted is None else None,
                status=row.status,
                seq=row.seq,
                holder=row.holder,
                execution_id=row.execution_id,
                starts=row.starts,
                awaited_s=now - row.at,
                deleted=row.deleted is not None,
            )
            for row in self.rows.values()
        ]

    def restart(self, vim_id: str, *, generation: int, to: int, action_id: str, in_vain: bool, reason: str) -> bool:
        self._here()
        row = self.rows.get(vim_id)
        if row is None or row.deleted is not None or row.generation != generation:
            return False
        self._new_generation(row, to, action_id)
        row.starts = row.starts + 1 if in_vain else 0
        self.restarts.append((self._clock(), vim_id, reason))
        return True

    def arrived(self, vim_ids: Sequence[str]) -> None:
        self._here()
        for vim_id in vim_ids:
            if vim_id in self.rows:
                self.rows[vim_id].starts = 0

    def unwatched(self, vim_id: str, *, generation: int, seq: int) -> bool:
        self._here()
        row = self.rows.get(vim_id)
        if row is None or row.deleted is not None or (row.generation, row.seq) != (generation, seq):
            return False
        row.status, row.updated = VimStatus.UNKNOWN, self._clock()
        return True

    def _new_generation(self, row: Row, generation: int, action_id: str | None) -> None:
        row.generation, row.action_id, row.holder, row.execution_id = generation, action_id, None, None
        row.at = row.updated = self._clock()
        if Guard.SEQ_0_AT_A_NEW_GENERATION not in self._missing:
            row.seq = 0
        self.highest[row.vim_id] = max(self.highest[row.vim_id], generation)
