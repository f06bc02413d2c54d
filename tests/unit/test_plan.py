"""What a pass of the reconciler finds to do: each difference between what is wanted and what is held."""

from dataclasses import replace

import pytest

from vimmon.conductor.plan import Limits, Memory, Plan, Row, Sight, plan
from vimmon.lease.model import Lease
from vimmon.vim import VimStatus

LIMITS = Limits()
ROW = Row(
    vim_id="v",
    generation=7,
    action_id="a7",
    status=VimStatus.REACHABLE,
    seq=3,
    holder="executor-1:42:aa:bb",
    execution_id="a7",
    starts=0,
    idle_s=1000,
)
MINE = Lease(7, "a7")


def sight(*held: Lease, lease: Lease | None = MINE, epoch_changed: bool = False) -> Sight:
    """One living executor that holds these leases of the VIM, and the lease in Redis."""
    executors: dict[str, dict[str, Lease]] = {"other:1:cc": {}}
    executors |= {f"executor-{number}:42:aa": {"v": one} for number, one in enumerate(held, start=1)}
    return Sight({} if lease is None else {"v": lease}, executors, {}, epoch_changed)


def passes(row: Row, seen: Sight, *times: float, memory: Memory | None = None) -> Plan:
    """What the last of several passes finds."""
    memory = memory or Memory()
    found = Plan()
    for now in times:
        found, memory = plan([row], seen, memory, now, LIMITS)
    return found


def nothing(found: Plan) -> bool:
    return found == Plan(holding=found.holding)


def test_what_is_held_as_it_is_wanted_is_left_alone() -> None:
    assert nothing(passes(ROW, sight(MINE), 0, 10, 1000))


def test_a_vim_that_arrived_has_its_failed_starts_forgotten() -> None:
    assert passes(replace(ROW, starts=3), sight(MINE), 0).arrived == ["v"]


def test_what_a_dead_executor_held_is_restarted_in_the_second_pass() -> None:
    assert nothing(passes(ROW, sight(), 0))
    assert nothing(passes(ROW, sight(), 0, 9)), "two passes, but not ten seconds apart"
    (restart,) = passes(ROW, sight(), 0, 10).restarts
    assert (restart.vim_id, restart.generation, restart.to, restart.in_vain) == ("v", 7, 8, False)
    assert "executor-1:42:aa holds it no more" in restart.reason


def test_what_was_missing_in_one_pass_and_is_back_is_left_alone() -> None:
    _, memory = plan([ROW], sight(), Memory(), 0, LIMITS)
    found, memory = plan([ROW], sight(MINE), memory, 10, LIMITS)
    assert nothing(found)
    found, _ = plan([ROW], sight(), memory, 20, LIMITS)
    assert nothing(found)


@pytest.mark.parametrize(("starts", "grace_s"), [(0, 60), (1, 120), (2, 240), (6, 3840), (20, 3840)])
def test_a_start_that_does_not_arrive_is_tried_again_after_a_growing_grace(starts: int, grace_s: float) -> None:
    row = replace(ROW, holder=None, starts=starts, seq=0, status=VimStatus.PENDING)
    assert nothing(passes(replace(row, idle_s=grace_s - 1), sight(), 0, 10, 20))
    (restart,) = passes(replace(row, idle_s=grace_s), sight(), 0).restarts
    assert (restart.to, restart.in_vain) == (8, True)


def test_a_start_whose_job_was_lost_is_enqueued_again_with_the_same_generation() -> None:
    row = replace(ROW, execution_id=None, holder=None)
    assert nothing(passes(replace(row, idle_s=59), sight(), 0))
    found = passes(replace(row, idle_s=60), sight(), 0)
    assert (found.starts, found.restarts) == ([("v", 7)], [])


def test_a_living_vim_without_an_action_gets_one() -> None:
    (restart,) = passes(replace(ROW, action_id=None, holder=None), sight(), 0).restarts
    assert restart.to == 8


@pytest.mark.parametrize(
    ("lease", "held", "to"),
    [
        (Lease(9, "a9"), (MINE,), 10),
        (Lease(9, None), (MINE,), 10),
        (Lease(7, "other"), (MINE,), 8),
        (Lease(7, None), (MINE,), 8),
        (MINE, (Lease(12, "a12"),), 13),
        (MINE, (MINE, Lease(8, "a8")), 9),
        (Lease(9, "a9"), (Lease(12, "a12"),), 13),
    ],
)
def test_a_lease_ahead_of_the_database_is_overtaken_at_once(lease: Lease, held: tuple[Lease, ...], to: int) -> None:
    (restart,) = passes(ROW, sight(*held, lease=lease), 0).restarts
    assert (restart.generation, restart.to) == (7, to)


@pytest.mark.parametrize("lease", [None, Lease(6, "a6"), Lease(6, None)])
def test_a_lease_that_is_missing_or_behind_is_no_reason_to_restart(lease: Lease | None) -> None:
    assert nothing(passes(ROW, sight(MINE, lease=lease), 0, 10))


@pytest.mark.parametrize("held", [Lease(6, "a6"), Lease(1, "a1")])
def test_an_old_action_that_is_still_held_counts_for_nothing(held: Lease) -> None:
    (restart,) = passes(ROW, sight(held), 0, 10).restarts
    assert restart.to == 8


@pytest.mark.parametrize("status", [VimStatus.REACHABLE, VimStatus.UNREACHABLE])
def test_what_nobody_has_watched_for_two_minutes_is_unknown(status: VimStatus) -> None:
    row = replace(ROW, status=status)
    assert passes(row, sight(), 0, 119).unwatched == []
    (lost,) = passes(row, sight(), 0, 120).unwatched
    assert (lost.vim_id, lost.generation, lost.seq) == ("v", 7, 3)
    assert "120 s" in lost.reason


def test_the_two_minutes_go_on_over_a_restart() -> None:
    _, memory = plan([ROW], sight(), Memory(), 0, LIMITS)
    restarted = replace(ROW, generation=8, action_id="a8", execution_id=None, holder=None, idle_s=20, seq=0)
    (lost,) = plan([restarted], sight(), memory, 120, LIMITS)[0].unwatched
    assert (lost.generation, lost.seq) == (8, 0)


@pytest.mark.parametrize("status", [VimStatus.PENDING, VimStatus.UNKNOWN])
def test_what_is_not_known_anyway_stays_as_it_is(status: VimStatus) -> None:
    assert passes(replace(ROW, status=status), sight(), 0, 1000).unwatched == []


def test_a_monitor_that_does_not_probe_is_restarted() -> None:
    stuck = replace(sight(MINE), stuck={"v": 400.0})
    assert nothing(passes(ROW, stuck, 0))
    (restart,) = passes(ROW, stuck, 0, 10).restarts
    assert "has not probed for 400 s" in restart.reason


def many(count: int) -> list[Row]:
    return [replace(ROW, vim_id=f"v{number}") for number in range(count)]


def test_after_another_epoch_nobody_is_believed_dead_for_a_minute() -> None:
    rows, gone = many(3), Sight({}, {"other:1:cc": {}}, {}, epoch_changed=True)
    found, memory = plan(rows, gone, Memory(), 0, LIMITS)
    calm = replace(gone, epoch_changed=False)
    for now in (10, 20, 59):
        found, memory = plan(rows, calm, memory, now, LIMITS)
        assert (found.restarts, found.holding) == ([], True)
    found, _ = plan(rows, calm, memory, 60, LIMITS)
    assert len(found.restarts) == 3


def fleet(*names: str) -> Sight:
    return Sight({}, {name: {} for name in names})


@pytest.mark.parametrize(
    ("before", "after", "holds"),
    [
        ("abc", "a", True),
        ("abcd", "a", True),
        ("abc", "", True),
        ("abc", "ab", False),
        ("abcd", "ab", False),  # half is not more than half
        ("ab", "", False),  # of two, both may well have died
    ],
)
def test_when_most_executors_vanish_at_once_nobody_is_believed_dead_for_a_minute(
    before: str, after: str, holds: bool
) -> None:
    _, memory = plan(many(1), fleet(*before), Memory(), 0, LIMITS)
    found, memory = plan(many(1), fleet(*after), memory, 10, LIMITS)
    assert found.holding is holds
    found, memory = plan(many(1), fleet(*after), memory, 20, LIMITS)
    assert bool(found.restarts) is not holds
    found, _ = plan(many(1), fleet(*after), memory, 71, LIMITS)
    assert found.restarts


def test_starts_are_ten_a_second_with_bursts_of_a_hundred() -> None:
    rows, seen = many(500), fleet("a")
    memory = Memory()
    started = []
    for now in (0, 10, 20, 21):
        found, memory = plan(rows, seen, memory, now, LIMITS)
        started.append(len(found.restarts))
        assert len(found.restarts) + found.postponed in (0, 500)
    assert started == [0, 100, 100, 10]


def test_while_no_executor_lives_ten_are_tried_at_a_time() -> None:
    rows, memory = many(50), Memory()
    _, memory = plan(rows, fleet(), memory, 0, LIMITS)
    found, memory = plan(rows, fleet(), memory, 10, LIMITS)
    assert len(found.restarts) == 10
    tried = {restart.vim_id for restart in found.restarts}
    rows = [
        replace(row, generation=8, action_id="a8", holder=None, idle_s=5) if row.vim_id in tried else row
        for row in rows
    ]
    found, _ = plan(rows, fleet(), memory, 20, LIMITS)
    assert found.restarts == [], "those ten are still on their way"
