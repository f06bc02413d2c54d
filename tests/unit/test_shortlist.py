"""Which of a name's many addresses are tried: all in their turn, and one that was connected to again."""

from socket import AF_INET

import pytest

from vimmon.actions.probing import shortlist
from vimmon.actions.probing.resolver import Address
from vimmon.actions.probing.shortlist import TRIED_MAX, Shortlist

FOUND = [Address(AF_INET, (f"192.0.2.{number}", 5000)) for number in range(14)]


def test_each_address_has_its_turn_again_and_again() -> None:
    chosen = Shortlist()
    tried = [chosen.of("name", FOUND) for _ in range(30)]
    assert {len(each) for each in tried} == {TRIED_MAX}
    for three in zip(tried, tried[1:], tried[2:], strict=False):
        assert {address for each in three for address in each} == set(FOUND)


@pytest.mark.parametrize("count", [1, TRIED_MAX])
def test_of_few_all_are_tried_and_always_the_preferred_one_first(count: int) -> None:
    chosen = Shortlist()
    for _ in range(3):
        assert chosen.of("name", FOUND[:count]) == FOUND[:count]
        chosen.keep("name")
    assert not chosen._next


def test_those_among_which_one_was_connected_to_are_tried_again() -> None:
    chosen = Shortlist()
    chosen.of("name", FOUND)
    second = chosen.of("name", FOUND)
    for _ in range(3):
        chosen.keep("name")
        assert chosen.of("name", FOUND) == second
    assert chosen.of("name", FOUND) != second


def test_no_more_names_are_remembered_than_allowed_and_the_latest_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist, "NAMES_MAX", 2)
    chosen = Shortlist()
    for name in ("a", "b", "a", "c"):
        chosen.of(name, FOUND)
    assert list(chosen._next) == ["a", "c"]
    chosen.keep("b")
    assert list(chosen._next) == ["a", "c"]
