"""What a pass of the reconciler looks at closely: whatever is not said alike by database, Redis and one executor."""

import pytest

from vimmon.conductor.cache import Said, odd_ones
from vimmon.conductor.refresh import Refresh
from vimmon.conductor.sight import held_once
from vimmon.registry.values import Expected

LEASE, STATUS = "7:3f2c", "7:12:REACHABLE:mistral-1:42:ab12:9f"
ROW: Expected = ("tokyo", LEASE, STATUS)
SAID: Said = (LEASE.encode(), STATUS.encode())
NONE: frozenset[str] = frozenset()


def test_where_all_say_the_same_nothing_is_odd() -> None:
    assert odd_ones([ROW], {"tokyo": SAID}, {"tokyo": LEASE}, NONE) == []


@pytest.mark.parametrize("row", [("tokyo", None, None), ("tokyo", LEASE, None), ("tokyo", None, STATUS)])
def test_a_row_that_cannot_be_told_at_first_sight_is_odd(row: Expected) -> None:
    assert odd_ones([row], {"tokyo": SAID}, {"tokyo": LEASE}, NONE) == ["tokyo"]


@pytest.mark.parametrize(
    "said",
    [
        (None, None),
        (None, SAID[1]),
        (SAID[0], None),
        (b"8:3f2c", SAID[1]),
        (b"7:other", SAID[1]),
        (b"7:3f2c\xff", SAID[1]),
        (SAID[0], b"7:13:REACHABLE:mistral-1:42:ab12:9f"),
    ],
)
def test_another_lease_or_status_in_redis_is_odd(said: Said) -> None:
    assert odd_ones([ROW], {"tokyo": said}, {"tokyo": LEASE}, NONE) == ["tokyo"]


def test_a_vim_of_which_redis_was_not_asked_is_odd() -> None:
    assert odd_ones([ROW], {}, {"tokyo": LEASE}, NONE) == ["tokyo"]


def test_a_vim_that_nobody_holds_or_another_action_of_it_is_odd() -> None:
    assert odd_ones([ROW], {"tokyo": SAID}, {}, NONE) == ["tokyo"]
    assert odd_ones([ROW], {"tokyo": SAID}, {"tokyo": "6:older"}, NONE) == ["tokyo"]


def test_a_suspect_is_odd_whatever_is_said_of_it() -> None:
    assert odd_ones([ROW], {"tokyo": SAID}, {"tokyo": LEASE}, {"tokyo"}) == ["tokyo"]


def test_what_several_executors_hold_is_held_by_none_alone() -> None:
    held = [{"a": "1:x", "b": "1:y"}, {"b": "1:y", "c": "1:z"}, {"b": "2:y"}]
    assert held_once(held) == {"a": "1:x", "c": "1:z"}


def refreshed(refresh: Refresh, now: float, pages: int, *, done: bool = True) -> list[int]:
    due = refresh.due(now)
    found = [number for number in range(pages) if due(number)]
    if done:
        refresh.done()
    return found


def test_the_first_pass_refreshes_every_page() -> None:
    assert refreshed(Refresh(300, 10), 1000, 40) == list(range(40))


def test_each_page_has_its_turn_once_in_the_time() -> None:
    refresh = Refresh(300, 10)
    refreshed(refresh, 1000, 0)
    turns = [refreshed(refresh, 1000 + 10 * number, 40) for number in range(1, 31)]
    assert sorted(page for turn in turns for page in turn) == list(range(40))
    assert max(map(len, turns)) == 2


def test_a_turn_that_was_missed_is_made_up_for() -> None:
    refresh, whole = Refresh(300, 10), set(range(30))
    refreshed(refresh, 1000, 30)
    lost = refreshed(refresh, 1010, 30, done=False)  # the pass came to no end
    assert len(lost) == 1
    assert set(lost) < set(refreshed(refresh, 1050, 30))
    assert set(refreshed(refresh, 9999, 30)) == whole


def test_passes_that_are_rarer_than_the_refreshing_refresh_all() -> None:
    refresh = Refresh(5, 10)
    refreshed(refresh, 1000, 3)
    assert refreshed(refresh, 1010, 3) == [0, 1, 2]
