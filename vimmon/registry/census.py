"""How many VIMs are in which status, and which are not reachable: what is asked again and again, and must be cheap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select

from vimmon.registry.database import check_schema
from vimmon.registry.models import VIMS
from vimmon.registry.transactions import clock, read
from vimmon.vim import VimStatus

BULK = 1000
LISTED_MAX = 200
LIVING = VIMS.c.deleted_at.is_(None)


@dataclass(frozen=True)
class Absent:
    """A VIM that is not REACHABLE, and for how long its status has been what it is."""

    vim_id: str
    name: str
    status: VimStatus
    for_s: float


@dataclass(frozen=True)
class Census:
    """`absent`: no more than LISTED_MAX, UNREACHABLE first, UNKNOWN next, each the longest first.

    `names`: of the VIMs asked for.
    """

    by_status: Mapping[VimStatus, int]
    absent: Sequence[Absent]
    names: Mapping[str, str]


class CensusTaker:
    """Raises DatabaseUnreachable and SchemaOutdated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def check(self) -> None:
        """That the database answers, and has the tables of this vimmon."""
        check_schema(self._engine)

    def take(self, ask_names_of: Sequence[str] = ()) -> Census:
        """De-registered VIMs do not count, and have no name."""

        def work(connection: Connection) -> Census:
            grouped = select(VIMS.c.status, func.count()).where(LIVING).group_by(VIMS.c.status)
            found = {str(status): int(count) for status, count in connection.execute(grouped)}
            names: dict[str, str] = {}
            for start in range(0, len(ask_names_of), BULK):
                some = ask_names_of[start : start + BULK]
                named = select(VIMS.c.id, VIMS.c.name).where(VIMS.c.id.in_(some), LIVING)
                names |= {row.id: row.name for row in connection.execute(named)}
            return Census({status: found.get(status, 0) for status in VimStatus}, _absent(connection), names)

        return read(self._engine, work)


def _absent(connection: Connection) -> list[Absent]:
    longest = select(VIMS.c.id, VIMS.c.name, VIMS.c.status, VIMS.c.status_since).where(
        LIVING, VIMS.c.status != VimStatus.REACHABLE
    )
    rows = connection.execute(
        longest.order_by(VIMS.c.status.desc(), VIMS.c.status_since, VIMS.c.id).limit(LISTED_MAX)
    ).all()
    now = clock(connection)
    return [
        Absent(row.id, row.name, VimStatus(row.status), max(0.0, (now - row.status_since).total_seconds()))
        for row in rows
    ]
