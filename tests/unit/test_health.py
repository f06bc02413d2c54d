"""When single outcomes become a status: hysteresis in both directions, and honest reasons."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimmon.health import Health, observe
from vimmon.probes import Outcome
from vimmon.vim import VimStatus

UP, DOWN, UNKNOWN, PENDING = VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN, VimStatus.PENDING

outcomes = st.builds(
    Outcome, status=st.sampled_from([UP, DOWN, UNKNOWN]), reason=st.sampled_from(["a", "b", "c"]), rtt_ms=st.none()
)
histories = st.lists(outcomes, max_size=40)
counts = st.integers(1, 6)


def settle(health: Health, history: list[Outcome], rise: int, fall: int) -> list[Health]:
    """The health before the history, and after each outcome of it."""
    steps = [health]
    for outcome in history:
        steps.append(observe(steps[-1], outcome, rise=rise, fall=fall))
    return steps


def say(*statuses: VimStatus) -> list[Outcome]:
    return [Outcome(status=status, reason=f"{status} {i}") for i, status in enumerate(statuses)]


@given(histories, counts, counts)
def test_a_status_changes_only_after_enough_equal_outcomes_in_a_row(
    history: list[Outcome], rise: int, fall: int
) -> None:
    steps = settle(Health(), history, rise, fall)
    for i, (before, after) in enumerate(pairwise(steps)):
        if after.status == before.status:
            continue
        needed = fall if after.status != UP else 1 if before.status == PENDING else rise
        last = history[max(0, i + 1 - needed) : i + 1]
        assert len(last) == needed
        if before.status in (UP, PENDING) and after.status != UP:
            assert UP not in {outcome.status for outcome in last}
            assert last[-1].status == after.status
        else:
            assert {outcome.status for outcome in last} == {after.status}


@given(histories, outcomes, counts, counts)
def test_enough_equal_outcomes_always_settle_the_status_whatever_was_before(
    history: list[Outcome], last: Outcome, rise: int, fall: int
) -> None:
    run = [last] * (rise if last.status == UP else fall)
    end = settle(Health(), [*history, *run], rise, fall)[-1]
    assert end == Health(last.status, last.reason)
    assert not end.confirming


@given(histories, counts, counts)
def test_the_reason_is_that_of_the_latest_outcome_that_agrees_with_the_status(
    history: list[Outcome], rise: int, fall: int
) -> None:
    steps = settle(Health(), history, rise, fall)
    for i, health in enumerate(steps):
        agreeing = [outcome.reason for outcome in history[:i] if outcome.status == health.status]
        assert health.reason == (agreeing[-1] if agreeing else "")


@given(histories, counts, counts)
def test_a_change_is_being_confirmed_exactly_while_the_latest_outcome_contradicts(
    history: list[Outcome], rise: int, fall: int
) -> None:
    steps = settle(Health(), history, rise, fall)
    assert not steps[0].confirming
    for outcome, health in zip(history, steps[1:], strict=True):
        assert health.confirming is (outcome.status != health.status)


def test_the_first_success_ends_pending_at_once() -> None:
    assert settle(Health(), say(DOWN, UP), rise=3, fall=3)[-1].status == UP


def test_failures_end_pending_only_after_fall() -> None:
    steps = settle(Health(), say(DOWN, DOWN, DOWN), rise=2, fall=3)
    assert [step.status for step in steps] == [PENDING, PENDING, PENDING, DOWN]


def test_one_lost_probe_changes_nothing() -> None:
    steps = settle(Health(), say(UP, DOWN, DOWN, UP, DOWN, DOWN, UP), rise=2, fall=3)
    assert {step.status for step in steps[1:]} == {UP}


def test_one_success_amid_failures_changes_nothing() -> None:
    steps = settle(Health(DOWN, "refused"), say(UP, DOWN, UP, DOWN), rise=2, fall=3)
    assert {step.status for step in steps} == {DOWN}


def test_not_being_able_to_probe_becomes_unknown_and_not_unreachable() -> None:
    assert settle(Health(UP, "fine"), say(UNKNOWN, UNKNOWN, UNKNOWN), rise=2, fall=3)[-1].status == UNKNOWN


@pytest.mark.parametrize("begin", [Health(UP, "fine"), Health()])
def test_failures_of_two_kinds_add_up_against_a_vim_that_is_held_reachable(begin: Health) -> None:
    assert settle(begin, say(DOWN, UNKNOWN), rise=2, fall=3)[-1].status == begin.status
    assert settle(begin, say(DOWN, UNKNOWN, DOWN), rise=2, fall=3)[-1].status == DOWN
    assert settle(begin, say(DOWN, DOWN, UNKNOWN), rise=2, fall=3)[-1].status == UNKNOWN
