"""A VIM's last day: each quarter of an hour shows the worst of it, nothing is shown that is not known."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.vims import a_vim
from vimmon.conductor.strip import CELL, CELLS, DAY, RANK, begin_of, reachable_share, runs, strip_of
from vimmon.registry.values import Moved
from vimmon.vim import Vim, VimStatus

NOW = datetime(2026, 11, 27, 3, 5, tzinfo=UTC)
BEGIN = datetime(2026, 11, 26, 3, 15, tzinfo=UTC)
UP, DOWN, UNKNOWN, PENDING = VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN, VimStatus.PENDING
LETTER = {0: ".", RANK[UP]: "r", RANK[PENDING]: "p", RANK[UNKNOWN]: "k", RANK[DOWN]: "X"}


def vim(status: VimStatus = UP, *, since: datetime = NOW - timedelta(days=9), created: datetime | None = None) -> Vim:
    return a_vim(status=status, status_since=since, created_at=created or NOW - timedelta(days=40))


def moved(minutes_ago: float, old: VimStatus, new: VimStatus) -> Moved:
    return Moved((NOW - timedelta(minutes=minutes_ago)).replace(tzinfo=None), old, new)


def drawn(one: Vim, *moves: Moved, known_from: datetime = BEGIN) -> str:
    """The last quarters of an hour, those before them being like the first of them."""
    cells = strip_of(one, moves, now=NOW, known_from=known_from).cells
    text = "".join(LETTER[cell] for cell in cells)
    assert len(text) == CELLS
    short = text.lstrip(text[0])
    return text[0] + short


def test_the_strip_begins_with_a_quarter_of_an_hour_and_ends_with_the_one_that_is_now() -> None:
    assert begin_of(NOW) == BEGIN
    assert begin_of(NOW) + DAY - CELL <= NOW < begin_of(NOW) + DAY
    assert begin_of(NOW + timedelta(minutes=9)) == BEGIN, "it stands still meanwhile"


def test_a_vim_that_did_not_change_had_its_status_all_the_day() -> None:
    assert drawn(vim()) == "r"
    assert drawn(vim(DOWN)) == "X"


def test_one_that_was_registered_today_is_not_shown_before_that() -> None:
    born = NOW - timedelta(minutes=50)  # 02:15
    assert drawn(vim(since=NOW - timedelta(minutes=49), created=born), moved(49, PENDING, UP)) == ".prrr"
    assert drawn(vim(PENDING, since=born, created=born)) == ".pppp"


def test_a_short_outage_is_seen_in_its_quarter_and_the_worst_counts() -> None:
    moves = (moved(20, UP, DOWN), moved(19.5, DOWN, UP), moved(18, UP, UNKNOWN), moved(17, UNKNOWN, UP))  # 02:45 …
    assert drawn(vim(since=NOW - timedelta(minutes=17)), *moves) == "rXr"


def test_an_outage_that_lasts_goes_on_to_the_end() -> None:
    assert drawn(vim(DOWN, since=NOW - timedelta(minutes=70)), moved(70, UP, DOWN)) == "rXXXXXX"


def test_what_ends_where_a_quarter_begins_is_not_seen_in_the_next() -> None:
    moves = (moved(35, UP, DOWN), moved(20, DOWN, UP))  # 02:30 to 02:45
    assert drawn(vim(since=NOW - timedelta(minutes=20)), *moves) == "rXrr"


def test_before_the_history_begins_nothing_is_known() -> None:
    known_from = NOW - timedelta(minutes=50)
    assert drawn(vim(), known_from=known_from) == ".rrrr"
    assert drawn(vim(since=NOW - timedelta(minutes=20)), moved(20, DOWN, UP), known_from=known_from) == ".XXrr"


def test_a_change_that_came_between_two_looks_is_shown_by_what_the_vim_says_of_itself() -> None:
    assert drawn(vim(DOWN, since=NOW - timedelta(minutes=1))) == "X", "without the change nothing else is known"
    late = strip_of(vim(DOWN, since=NOW - timedelta(minutes=1)), [moved(70, DOWN, UP)], now=NOW, known_from=BEGIN)
    assert (late.cells[-1], late.cells[-2]) == (RANK[DOWN], RANK[UP])


def test_how_long_it_was_what_is_told_and_what_it_was_reachable_for() -> None:
    moves = (moved(120, UP, DOWN), moved(60, DOWN, UP))
    strip = strip_of(vim(since=NOW - timedelta(minutes=60)), moves, now=NOW, known_from=BEGIN)
    assert strip.spent[DOWN] == timedelta(minutes=60)
    assert sum(strip.spent.values(), timedelta()) == NOW - BEGIN
    assert reachable_share(strip) == pytest.approx(1 - timedelta(minutes=60) / (NOW - BEGIN))
    assert strip.changes == 2
    born = vim(PENDING, since=NOW, created=NOW - timedelta(minutes=5))
    assert reachable_share(strip_of(born, [], now=NOW, known_from=BEGIN)) is None, "nothing was heard"


def test_runs_of_equal_cells_are_put_together() -> None:
    assert runs(bytes([0, 1, 1, 4, 0, 0, 2])) == [(1, 1, 2), (4, 3, 1), (2, 6, 1)]
    assert runs(bytes(9)) == []
    assert runs(b"") == []


TIMES = st.floats(-100, 60 * 30)


@given(
    st.lists(st.tuples(TIMES, st.sampled_from(VimStatus), st.sampled_from(VimStatus)), max_size=12),
    st.sampled_from(VimStatus),
    TIMES,
    TIMES,
    TIMES,
)
def test_whatever_the_rows_say_each_cell_is_known_or_empty_and_no_time_is_counted_twice(
    moves: Sequence[tuple[float, VimStatus, VimStatus]], status: VimStatus, since: float, created: float, known: float
) -> None:
    """Clocks may have been set back, and rows read at different moments."""
    at = [NOW - timedelta(minutes=minutes) for minutes in (since, created, known)]
    strip = strip_of(
        vim(status, since=at[0], created=at[1]), [moved(*one) for one in moves], now=NOW, known_from=max(BEGIN, at[2])
    )
    assert len(strip.cells) == CELLS
    assert set(strip.cells) <= set(LETTER)
    share = reachable_share(strip)
    assert share is None or 0 <= share <= 1
