"""What is found when Mistral is compared with the database."""

import pytest

from vimmon.mistral.sweep import Execution, Existing, Sweep, Watched, sweep

LIVING = {"v": Watched("a7", "a7", 1000)}


def existing(*executions: Execution, workflows: tuple[str, ...] = ("v",)) -> Existing:
    return Existing(frozenset(workflows), executions)


def test_where_mistral_has_what_is_wanted_nothing_is_done() -> None:
    assert sweep(existing(Execution("a7", "v", "RUNNING")), LIVING) == Sweep()


def test_an_execution_of_an_old_action_is_removed() -> None:
    found = sweep(existing(Execution("a7", "v", "RUNNING"), Execution("a6", "v", "RUNNING")), LIVING)
    assert found == Sweep(executions=["a6"])


@pytest.mark.parametrize(
    "left", [existing(workflows=("gone",)), existing(Execution("x", "gone", "RUNNING"), workflows=())]
)
def test_what_belongs_to_no_registered_vim_is_removed_whole(left: Existing) -> None:
    assert sweep(left, {}) == Sweep(leftovers=["gone"])


def test_a_monitor_whose_execution_is_gone_is_started_again() -> None:
    assert sweep(existing(), LIVING).restarts == {"v": "its execution is gone from Mistral"}


def test_a_monitor_whose_execution_failed_is_started_again_and_the_reason_told() -> None:
    failed = Execution("a7", "v", "ERROR", "vimmon: settings are wrong")
    assert sweep(existing(failed), LIVING).restarts == {"v": "its execution ended in ERROR: vimmon: settings are wrong"}


@pytest.mark.parametrize("watched", [Watched("a7", "a7", 119), Watched("a7", None, 1000), Watched(None, None, 1000)])
def test_what_was_started_just_now_or_not_yet_is_left_alone(watched: Watched) -> None:
    assert sweep(existing(), {"v": watched}) == Sweep()


@pytest.mark.parametrize(("starts", "after_s"), [(0, 120), (1, 240), (3, 960), (9, 3840), (5000, 3840)])
def test_what_fails_again_and_again_is_started_ever_more_seldom(starts: int, after_s: float) -> None:
    failed = existing(Execution("a7", "v", "ERROR"))
    assert sweep(failed, {"v": Watched("a7", "a7", after_s - 1, starts)}).restarts == {}
    assert sweep(failed, {"v": Watched("a7", "a7", after_s, starts)}).restarts.keys() == {"v"}
