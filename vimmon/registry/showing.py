"""What the status page shows of the database: how many VIMs have which status, some of them, and their last day.

A fixed number of statements, however many VIMs are shown. What is read of the history has an upper limit, however much
of it there is.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import ColumnElement, Connection, DateTime, Engine, case, func, or_, select, type_coerce

from vimmon.registry.models import STATUS_CHANGES, VIMS
from vimmon.registry.rows import vim_of
from vimmon.registry.transactions import clock, read
from vimmon.registry.values import SHOWN_MAX, Moved, Showing, Wish
from vimmon.vim import VimStatus, known_status

CHANGES_MAX = 50_000  # of the whole installation, the newest: what is older is not looked for
LATE = timedelta(minutes=1)  # a change may be entered so much later than one with a higher number
LIVING = VIMS.c.deleted_at.is_(None)
WORST_FIRST = case(
    (VIMS.c.status == VimStatus.UNREACHABLE, 0),
    (VIMS.c.status == VimStatus.PENDING, 2),
    (VIMS.c.status == VimStatus.REACHABLE, 3),
    else_=1,  # UNKNOWN, and what only another version knows
)


class Showcase:
    """Raises DatabaseUnreachable and SchemaOutdated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def show(self, wish: Wish, *, day: timedelta) -> Showing:
        """The page that was wished for, or the last one where there are not so many; the moves of the last `day`."""

        def work(connection: Connection) -> Showing:
            now = clock(connection)
            by_status = _count(connection)
            wanted = _wanted(wish)
            number = select(func.count()).select_from(VIMS).where(*wanted)
            found = connection.execute(number).scalar_one() if wish.text else _of(by_status, wish.status)
            pages = max(1, ceil(found / SHOWN_MAX))
            page = min(max(1, wish.page), pages)
            since = case((VIMS.c.status != VimStatus.REACHABLE, VIMS.c.status_since))
            rows = select(VIMS).where(*wanted).order_by(WORST_FIRST, since.desc(), VIMS.c.name, VIMS.c.id)
            rows = rows.limit(SHOWN_MAX).offset((page - 1) * SHOWN_MAX)
            vims = [vim_of(row) for row in connection.execute(rows)]
            known_from, moves = _moves(connection, [vim.id for vim in vims], now - day)
            return Showing(now, by_status, found, page, pages, vims, known_from, moves)

        return read(self._engine, work)


def _count(connection: Connection) -> dict[VimStatus, int]:
    counted = dict.fromkeys(VimStatus, 0)
    for status, count in connection.execute(select(VIMS.c.status, func.count()).where(LIVING).group_by(VIMS.c.status)):
        counted[known_status(status)] += count
    return counted


def _of(by_status: Mapping[VimStatus, int], status: VimStatus | None) -> int:
    return sum(by_status.values()) if status is None else by_status[status]


def _wanted(wish: Wish) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [LIVING]
    if wish.status is VimStatus.UNKNOWN:
        wanted.append(WORST_FIRST == 1)
    elif wish.status is not None:
        wanted.append(VIMS.c.status == wish.status)
    if wish.text:
        named = VIMS.c.name.icontains(wish.text, autoescape=True)
        wanted.append(or_(named, VIMS.c.id.istartswith(wish.text, autoescape=True)))
    return wanted


def _moves(connection: Connection, vim_ids: Sequence[str], since: datetime) -> tuple[datetime, dict[str, list[Moved]]]:
    """From when on they are complete, and the moves.

    The numbers of the changes grow with their time: so they are found by the index on (vim_id, id), of which no more
    than CHANGES_MAX entries are read, however a planner goes about it.
    """
    changes = STATUS_CHANGES.c
    first_at = connection.execute(select(func.min(changes.at)).where(changes.at >= since - LATE)).scalar()
    if first_at is None or not vim_ids:
        return since, {}
    early = select(func.min(changes.id)).where(changes.at >= first_at, changes.at < first_at + 2 * LATE)
    lowest = connection.execute(early).scalar_one()
    newest = connection.execute(select(func.max(changes.id))).scalar_one()
    known_from = since
    if newest - lowest >= CHANGES_MAX:
        lowest = newest - CHANGES_MAX + 1
        cut = select(changes.at).where(changes.id >= lowest).order_by(changes.id).limit(1)
        known_from = max(since, connection.execute(cut).scalar_one())
    query = select(changes.vim_id, type_coerce(changes.at, DateTime()), changes.old, changes.new)
    query = query.where(changes.vim_id.in_(vim_ids), changes.id >= lowest, changes.at >= known_from)
    moves: dict[str, list[Moved]] = {}
    for vim_id, at, old, new in connection.execute(query.order_by(changes.id)):
        moves.setdefault(vim_id, []).append(Moved(at, known_status(old), known_status(new)))
    return known_from, moves
