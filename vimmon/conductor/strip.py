"""A VIM's last day: the worst status that it had in each quarter of an hour, and how long it was what. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from vimmon.registry.values import Moved
from vimmon.vim import Vim, VimStatus

CELLS = 96
CELL = timedelta(minutes=15)
DAY = CELLS * CELL
STATUSES = (VimStatus.REACHABLE, VimStatus.PENDING, VimStatus.UNKNOWN, VimStatus.UNREACHABLE)  # the worst last
RANK = {status: number for number, status in enumerate(STATUSES, start=1)}


@dataclass(frozen=True)
class Strip:
    """`cells`: for each quarter the rank of the worst status in it, 0 where nothing is known: before the VIM was
    registered, or before what the history has. `spent`: the time in each status. `changes`: how often it changed."""

    cells: bytes
    spent: Mapping[VimStatus, timedelta]
    changes: int


def begin_of(now: datetime) -> datetime:
    """When the strips of now begin: with a quarter of an hour, so that they stand still for one."""
    return datetime.fromtimestamp(now.timestamp() // CELL.total_seconds() * CELL.total_seconds(), UTC) + CELL - DAY


def strip_of(vim: Vim, moves: Sequence[Moved], *, now: datetime, known_from: datetime) -> Strip:
    """`moves`: the oldest first, complete from `known_from` on. What the VIM says of itself counts most."""
    begin = begin_of(now)
    points = [(min(now, max(begin, known_from, vim.created_at)), moves[0].old if moves else vim.status)]
    for move in moves:  # each after the one before, though a clock was set back
        points.append((min(now, max(points[-1][0], move.at.replace(tzinfo=UTC))), move.new))
    if points[-1][1] is not vim.status:  # it changed between two looks
        points.append((min(now, max(points[-1][0], vim.status_since)), vim.status))
    cells, spent = bytearray(CELLS), dict.fromkeys(VimStatus, timedelta())
    ends = [at for at, _ in points[1:]] + [now]
    for (at, status), end in zip(points, ends, strict=True):
        spent[status] += end - at
        first, last = (at - begin) // CELL, (end - begin) // CELL
        if (end - begin) % CELL == timedelta() and end > at:
            last -= 1  # it ended where the next quarter begins
        rank = RANK[status]
        for cell in range(max(0, first), min(CELLS - 1, last) + 1):
            cells[cell] = max(cells[cell], rank)
    return Strip(bytes(cells), spent, len(moves))


def runs(cells: bytes) -> list[tuple[int, int, int]]:
    """The rank, the first cell and the number of cells of each run of equal ones; none where nothing is known."""
    found, first = [], 0
    for cell in range(1, len(cells) + 1):
        if cell == len(cells) or cells[cell] != cells[first]:
            if cells[first]:
                found.append((cells[first], first, cell - first))
            first = cell
    return found


def reachable_share(strip: Strip) -> float | None:
    """The part of the time for which anything was heard that it was REACHABLE; None: nothing was heard."""
    heard = sum((time for status, time in strip.spent.items() if status is not VimStatus.PENDING), timedelta())
    return strip.spent[VimStatus.REACHABLE] / heard if heard else None
