"""When a VIM flaps, compared with counting its changes one by one."""

from hypothesis import given
from hypothesis import strategies as st

from vimmon.flapping import CHANGES, WITHIN_S, Stated, flaps, state
from vimmon.vim import VimStatus

STATUSES = st.sampled_from([VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN])
SAID = st.lists(st.tuples(st.floats(0, 900), STATUSES), max_size=60)
UP, DOWN = VimStatus.REACHABLE, VimStatus.UNREACHABLE


def told(said: list[tuple[float, VimStatus]]) -> tuple[Stated, float]:
    stated, now = Stated(), 0.0
    for after_s, status in said:
        now += after_s
        stated = state(stated, status, now)
    return stated, now


@given(SAID, st.floats(0, 2 * WITHIN_S))
def test_a_vim_flaps_where_its_status_changed_often_enough_within_the_hour(
    said: list[tuple[float, VimStatus]], after_s: float
) -> None:
    stated, now = told(said)
    now += after_s
    changes, at, last = 0, 0.0, None
    for gap_s, status in said:
        at += gap_s
        changes += last not in (None, status) and now - at < WITHIN_S
        last = status
    assert flaps(stated, now) == (changes >= CHANGES)


@given(SAID)
def test_no_more_is_kept_than_is_asked_for(said: list[tuple[float, VimStatus]]) -> None:
    assert len(told(said)[0].changed_at) <= CHANGES


def test_three_times_gone_and_back_is_flapping_until_the_first_of_these_is_an_hour_ago() -> None:
    stated, now = told([(0, UP), *[(60.0, DOWN), (60.0, UP)] * 3])
    assert flaps(stated, now)
    assert flaps(stated, 60 + WITHIN_S - 1)
    assert not flaps(stated, 60 + WITHIN_S)


def test_the_first_status_and_one_that_is_said_again_are_no_changes() -> None:
    stated, now = told([(1.0, UP)] * 20)
    assert stated == Stated(UP)
    assert not flaps(stated, now)
