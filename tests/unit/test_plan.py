"""What a pass of the reconciler finds to do: each difference between what is wanted and what is held."""

from dataclasses import dataclass, field, replace

import pytest

from vimmon.conductor.plan import Memory, Plan, Sight, plan
from vimmon.conductor.verdict import Limits
from vimmon.lease.model import Lease
from vimmon.registry.values import Glance
from vimmon.vim import VimStatus

LIMITS = Limits()
ROW = Glance(
    vim_id="v",
    generation=7,
    action_id="a7",
    status=VimStatus.REACHABLE,
    seq=3,
    holder="executor-1:42:aa:bb",
    execution_id="a7",
    starts=0,
    awaited_s=1000,
)
MINE = Lease(7, "a7")


def sight(*held: Lease, lease: Lease | None = MINE) -> Sight:
    """One living executor that holds these leases of the VIM, and the lease in Redis."""
    executors: dict[str, dict[str, Lease]] = {"other:1:cc": {}}
    executors |= {f"executor-{number}:42:aa": {"v": one} for number, one in enumerate(held, start=1)}
    return Sight({} if lease is None else {"v": lease}, executors)


def after(row: Glance, seen: Sight, *times: float, memory: Memory | None = None) -> tuple[Plan, Memory]:
    """What the last of several passes finds, and remembers."""
    memory = memory or Memory()
    found = Plan()
    for now in times:
        found, memory = plan([row], seen, memory, now, LIMITS)
    return found, memory


def passes(row: Glance, seen: Sight, *times: float, memory: Memory | None = None) -> Plan:
    """What the last of several passes finds."""
    return after(row, seen, *times, memory=memory)[0]


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


def test_a_monitor_that_has_just_reported_for_the_first_time_is_not_missed_at_once() -> None:
    """Its held list may be written a moment later than its first report."""
    awaited = replace(ROW, holder=None, seq=0, status=VimStatus.PENDING, awaited_s=30)
    memory = Memory()
    for now in (0, 10, 20, 30):
        _, memory = plan([awaited], sight(), memory, now, LIMITS)
    found, memory = plan([replace(ROW, awaited_s=40)], sight(), memory, 40, LIMITS)
    assert nothing(found)
    found, _ = plan([replace(ROW, awaited_s=50)], sight(), memory, 50, LIMITS)
    assert len(found.restarts) == 1


def test_what_was_missing_in_one_pass_and_is_back_is_left_alone() -> None:
    _, memory = plan([ROW], sight(), Memory(), 0, LIMITS)
    found, memory = plan([ROW], sight(MINE), memory, 10, LIMITS)
    assert nothing(found)
    found, _ = plan([ROW], sight(), memory, 20, LIMITS)
    assert nothing(found)


@pytest.mark.parametrize(("starts", "grace_s"), [(0, 60), (1, 120), (2, 240), (6, 3840), (20, 3840)])
def test_a_start_that_does_not_arrive_is_tried_again_after_a_growing_grace(starts: int, grace_s: float) -> None:
    row = replace(ROW, holder=None, starts=starts, seq=0, status=VimStatus.PENDING)
    assert nothing(passes(replace(row, awaited_s=grace_s - 1), sight(), 0, 10, 20))
    (restart,) = passes(replace(row, awaited_s=grace_s), sight(), 0).restarts
    assert (restart.to, restart.in_vain) == (8, True)


def test_a_start_whose_job_was_lost_is_enqueued_again_with_the_same_generation() -> None:
    row = replace(ROW, execution_id=None, holder=None)
    assert nothing(passes(replace(row, awaited_s=59), sight(), 0))
    found = passes(replace(row, awaited_s=60), sight(), 0)
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
    assert passes(row, sight(), *range(0, 120, 10), 119).unwatched == []
    (lost,) = passes(row, sight(), *range(0, 130, 10)).unwatched
    assert (lost.vim_id, lost.generation, lost.seq) == ("v", 7, 3)
    assert "120 s" in lost.reason


def test_the_two_minutes_go_on_over_a_restart() -> None:
    _, memory = after(ROW, sight(), 0, 10, 20)
    restarted = replace(ROW, generation=8, action_id="a8", execution_id=None, holder=None, awaited_s=20, seq=0)
    (lost,) = passes(restarted, sight(), *range(30, 130, 10), memory=memory).unwatched
    assert (lost.generation, lost.seq) == (8, 0)


@pytest.mark.parametrize("status", [VimStatus.PENDING, VimStatus.UNKNOWN])
def test_what_is_not_known_anyway_stays_as_it_is(status: VimStatus) -> None:
    assert passes(replace(ROW, status=status), sight(), 0, 1000).unwatched == []


def test_what_was_missing_before_an_outage_is_missed_anew_after_it() -> None:
    """While the database or Redis was away no pass was made, and its executor may have had no chance to beat."""
    _, memory = after(ROW, sight(), 0)
    found, memory = after(ROW, sight(), 300, memory=memory)
    assert nothing(found), "the first look after five minutes is not the second one in a row"
    (restart,) = passes(ROW, sight(), 310, memory=memory).restarts
    assert restart.to == 8


def test_a_pass_that_takes_long_is_no_outage() -> None:
    _, memory = after(ROW, sight(), 0)
    assert passes(ROW, sight(), 300, memory=replace(memory, ended=290)).restarts


STUCK = {"executor-1:42:aa": {"v": 400.0}}


def test_a_monitor_that_does_not_probe_is_restarted() -> None:
    (restart,) = passes(ROW, replace(sight(MINE), stuck=STUCK), 0).restarts
    assert "has not probed for 400 s" in restart.reason


def test_an_older_monitor_that_hung_elsewhere_says_nothing_about_its_successor() -> None:
    both = sight(Lease(6, "a6"), MINE)
    assert nothing(passes(ROW, replace(both, stuck=STUCK), 0))
    assert nothing(passes(ROW, replace(sight(MINE, MINE), stuck=STUCK), 0)), "one of two that hold it does probe"


MUTE = replace(ROW, holder=None, seq=0, status=VimStatus.PENDING)


@pytest.mark.parametrize(("starts", "after_s"), [(0, 300), (1, 600)])
def test_a_monitor_that_is_held_and_says_nothing_is_restarted(starts: int, after_s: float) -> None:
    mute = replace(MUTE, starts=starts)
    minute = range(0, 70, 10)
    assert nothing(passes(replace(mute, awaited_s=after_s - 1), sight(MINE), *minute)), "it may still be probing"
    (restart,) = passes(replace(mute, awaited_s=after_s), sight(MINE), *minute).restarts
    assert restart.in_vain
    assert f"has said nothing for {after_s} s" in restart.reason


def test_a_monitor_that_could_not_be_heard_is_not_mute() -> None:
    """No conductor answered, or the database was away and no pass was made: it must have had a minute to be heard."""
    mute = replace(MUTE, awaited_s=1000)
    deaf = replace(sight(MINE), conductors=0)
    found, memory = after(mute, deaf, *range(0, 300, 10))
    assert nothing(found)
    found, memory = after(mute, sight(MINE), *range(300, 360, 10), memory=memory)
    assert nothing(found)
    found, memory = after(mute, sight(MINE), *range(1000, 1060, 10), memory=memory)
    assert nothing(found)
    assert passes(mute, sight(MINE), 1060, memory=memory).restarts


def test_many_starts_in_vain_are_no_trouble() -> None:
    row = replace(ROW, holder=None, starts=5000, awaited_s=3840)
    assert len(passes(row, sight(), 0).restarts) == 1


def many(count: int) -> list[Glance]:
    return [replace(ROW, vim_id=f"v{number}") for number in range(count)]


def test_after_another_epoch_nobody_is_believed_dead_for_a_minute() -> None:
    rows, memory = many(3), Memory()
    for now in (*range(0, 60, 10), 59):
        seen = Sight({}, {"other:1:cc": {}}, epoch_age_s=now)
        found, memory = plan(rows, seen, memory, now, LIMITS)
        assert (found.restarts, found.holding) == ([], True)
    found, _ = plan(rows, Sight({}, {"other:1:cc": {}}, epoch_age_s=60), memory, 60, LIMITS)
    assert len(found.restarts) == 3


def test_the_wait_after_another_epoch_is_anothers_too() -> None:
    """It is told by Redis, and not remembered: a reconciler that has just begun waits as well."""
    seen = Sight({}, {"other:1:cc": {}}, epoch_age_s=30)
    _, memory = plan(many(3), replace(seen, epoch_age_s=20), Memory(), 0, LIMITS)
    assert plan(many(3), seen, memory, 10, LIMITS)[0].restarts == []


def fleet(*names: str) -> Sight:
    return Sight({}, {name: {} for name in names})


@pytest.mark.parametrize(
    ("alive", "holds"),
    [
        (("abc", "a"), True),
        (("abcd", "a"), True),
        (("abc", ""), True),
        (("abc", "ab", ""), True),  # their heartbeats did not expire in the same pass
        (("abcd", "ab", ""), True),
        (("abc", "ab"), False),
        (("abcd", "ab"), False),  # half is not more than half
        (("ab", ""), False),  # of two, both may well have died
    ],
)
def test_when_most_executors_vanish_at_once_nobody_is_believed_dead_for_a_minute(
    alive: tuple[str, ...], holds: bool
) -> None:
    memory, now, found = Memory(), 0.0, Plan()
    for names in alive:
        found, memory = plan(many(1), fleet(*names), memory, now, LIMITS)
        now += 10
    assert found.holding is holds
    held_back, memory = plan(many(1), fleet(*alive[-1]), memory, now, LIMITS)
    assert bool(held_back.restarts) is False or not holds
    for later in (now + 61, now + 71):
        found, memory = plan(many(1), fleet(*alive[-1]), memory, later, LIMITS)
    assert found.restarts


def test_executors_that_end_one_after_another_do_not_vanish_at_once() -> None:
    memory = Memory()
    for now, names in ((0, "abcd"), (100, "abc"), (200, "ab"), (300, "a")):
        found, memory = plan(many(1), fleet(*names), memory, now, LIMITS)
        assert not found.holding


def test_starts_are_ten_a_second_with_bursts_of_a_hundred() -> None:
    rows, seen = many(500), fleet("a")
    memory = Memory()
    started = []
    for now in (0, 10, 20, 21):
        found, memory = plan(rows, seen, memory, now, LIMITS)
        started.append(len(found.restarts))
        assert len(found.restarts) + found.postponed in (0, 500)
    assert started == [0, 100, 100, 10]


@pytest.mark.parametrize("order", [1, -1])
def test_while_no_executor_lives_ten_are_tried_at_a_time(order: int) -> None:
    rows, memory = many(50), Memory()
    _, memory = plan(rows, fleet(), memory, 0, LIMITS)
    found, memory = plan(rows, fleet(), memory, 10, LIMITS)
    assert len(found.restarts) == 10
    tried = {restart.vim_id for restart in found.restarts}
    for execution_id in (None, "a8"):  # its job waits, then it is on its way
        begun = {"generation": 8, "action_id": "a8", "holder": None, "awaited_s": 5, "execution_id": execution_id}
        now_rows = [replace(row, **begun) if row.vim_id in tried else row for row in rows][::order]  # type: ignore[arg-type]
        assert plan(now_rows, fleet(), memory, 20, LIMITS)[0].restarts == [], "those ten are still on their way"


def test_what_one_pass_writes_is_bounded() -> None:
    limits = Limits(writes_per_pass=3)
    rows = [replace(row, execution_id=None) for row in many(10)]
    memory, found = Memory(), Plan()
    for now in range(0, 130, 10):
        found, memory = plan(rows, fleet("a"), memory, now, limits)
    assert (len(found.starts), len(found.unwatched)) == (3, 3)


def test_what_hangs_is_unknown_when_nobody_has_looked_at_it_for_two_minutes_whatever_holds_its_restart_back() -> None:
    hanging = replace(sight(MINE), stuck=STUCK, epoch_age_s=5)
    found = passes(ROW, hanging, 0)
    assert (found.restarts, found.postponed) == ([], 1)
    (lost,) = found.unwatched
    assert "for 400 s" in lost.reason


def test_what_is_ahead_of_the_database_and_not_watched_becomes_unknown_too() -> None:
    rows, leases = many(500), {f"v{number}": Lease(9, "a9") for number in range(500)}
    memory, found = Memory(), Plan()
    for now in range(0, 130, 10):
        found, memory = plan(rows, Sight(leases, {}), memory, now, LIMITS)
    assert len(found.unwatched) == 500
    held = Sight(leases, {"a": {row.vim_id: MINE for row in rows}})
    assert plan(rows, held, memory, 130, LIMITS)[0].unwatched == [], "but what is watched is known"


def test_while_no_executor_lives_every_vim_has_its_turn() -> None:
    """Ten of which the starts never get to Mistral bar nobody."""
    barred = {f"v{number}" for number in range(10)}
    begun = {f"v{number}": 0.0 for number in range(60)}
    starts = dict.fromkeys(begun, 0)
    memory, generation = Memory(), dict.fromkeys(begun, 7)
    for now in range(0, 3600, 10):
        rows = [
            replace(
                MUTE,
                vim_id=vim_id,
                generation=generation[vim_id],
                starts=starts[vim_id],
                execution_id=None if vim_id in barred else "x",
                awaited_s=now - begun[vim_id],
            )
            for vim_id in begun
        ]
        found, memory = plan(rows, Sight({}, {}), memory, now, LIMITS)
        for restart in found.restarts:
            begun[restart.vim_id], generation[restart.vim_id] = now, restart.to
            starts[restart.vim_id] += 1
    assert {vim_id for vim_id, number in generation.items() if number > 7} == begun.keys() - barred


def test_what_was_started_while_no_executor_lived_is_started_again_a_minute_after_one_came() -> None:
    lost = replace(MUTE, starts=6, awaited_s=1000)
    _, memory = after(lost, Sight({}, {}), 0, 10)
    found, memory = after(lost, sight(), *range(20, 80, 10), memory=memory)
    assert nothing(found)
    (restart,) = passes(lost, sight(), 80, memory=memory).restarts
    assert "while no executor lived" in restart.reason
    assert nothing(passes(replace(lost, awaited_s=50), sight(), 80, memory=memory)), "this one was started later"


def test_all_that_wait_for_their_job_are_asked_for_in_turn() -> None:
    limits = Limits(writes_per_pass=30)
    rows = [replace(MUTE, vim_id=f"v{number}", execution_id=None) for number in range(100)]
    memory, asked = Memory(), set[str]()
    for now in range(0, 40, 10):
        found, memory = plan(rows, fleet("a"), memory, now, limits)
        asked.update(vim_id for vim_id, _ in found.starts)
    assert len(asked) == 100


@dataclass
class SlowMistral:
    """Begins one action a second, in the order in which they were asked for, and obsolete ones as well."""

    vims: int
    now: float = 0
    queue: list[tuple[str, int]] = field(default_factory=list)
    held: dict[str, Lease] = field(default_factory=dict)
    rows: dict[str, Glance] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)

    def start(self, vim_id: str, generation: int, starts: int) -> None:
        self.begun[vim_id] = self.now
        row = replace(MUTE, vim_id=vim_id, generation=generation, action_id=f"a{generation}", starts=starts)
        self.rows[vim_id] = row
        self.queue.append((vim_id, generation))

    def run(self, passes: int) -> int:
        """How many were asked for until all were held."""
        for number in range(self.vims):
            self.start(f"v{number}", 1, 0)
        asked = self.vims
        for _ in range(passes):
            self.now += 10
            for vim_id, generation in self.queue[:10]:
                if self.rows[vim_id].generation == generation:
                    self.held[vim_id] = Lease(generation, f"a{generation}")
                    self.rows[vim_id] = replace(self.rows[vim_id], holder="a:1:b:c", seq=1)
            del self.queue[:10]
            rows = [replace(row, awaited_s=self.now - self.begun[row.vim_id]) for row in self.rows.values()]
            found, self.memory = plan(rows, Sight({}, {"a:1:b": dict(self.held)}), self.memory, self.now, LIMITS)
            for restart in found.restarts:
                self.start(restart.vim_id, restart.to, self.rows[restart.vim_id].starts + restart.in_vain)
                asked += 1
            if len(self.held) == self.vims:
                return asked
        raise AssertionError(f"{len(self.held)} of {self.vims} are held, {len(self.queue)} wait")


def test_a_mistral_that_is_slow_is_not_asked_for_the_same_again_and_again() -> None:
    assert SlowMistral(1000).run(passes=110) < 1100


def test_a_queue_that_does_not_move_holds_no_start_back() -> None:
    rows = [replace(MUTE, vim_id=f"v{number}", awaited_s=61) for number in range(500)]
    _, memory = plan([replace(row, awaited_s=1) for row in rows], fleet("a"), Memory(), 0, LIMITS)
    assert len(plan(rows, fleet("a"), memory, 60, LIMITS)[0].restarts) == 100
