"""What one monitor says and concludes; and that the row follows it, whatever is lost, late, doubled or a lie."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from vimmon import messages
from vimmon.actions.monitor import REASON_MAX, Assignment, Left, Monitor, parse_assignment
from vimmon.actions.suspicion import Doubt
from vimmon.conductor.methods import answer_from_cache
from vimmon.errors import InvalidInput
from vimmon.lease.model import LEAP_MAX, CommittedStatus, Lease
from vimmon.lease.store import Cached
from vimmon.messages import BAD_ACTION, Answer, UpdateVim
from vimmon.probes import Outcome, TcpProbe
from vimmon.registry.reports import RecordVerdict, Report, RowState, decide
from vimmon.vim import VimStatus

PENDING, REACHABLE, UNREACHABLE, UNKNOWN = VimStatus
PROBE = {"kind": "tcp", "auth_url": "http://tokyo.example.org:5000", "rise": 2, "fall": 2}
UP = Outcome(status=REACHABLE, reason="connected in 3 ms")
DOWN = Outcome(status=UNREACHABLE, reason="connection refused")
HOLDER = "mistral-1:42:ab12:ff00"
HELD = Lease(7, "a7")


def assignment(generation: int = 7, action_id: str = "a7") -> Assignment:
    return Assignment("tokyo", action_id, generation, TcpProbe.model_validate(PROBE))


def monitor() -> Monitor:
    return Monitor(assignment(), HOLDER)


def watching(status: VimStatus = REACHABLE) -> Monitor:
    """A monitor whose first status, of seq 1, was acknowledged."""
    mine = monitor()
    acknowledge(mine, told(mine, UP if status == REACHABLE else DOWN))
    return mine


def raw(value: Lease | CommittedStatus | None) -> bytes | None:
    """As Redis has it."""
    return None if value is None else str(value).encode()


def told(mine: Monitor, outcome: Outcome) -> UpdateVim:
    """What it says after as many of these outcomes as it takes."""
    for _ in range(3):
        if (update := mine.observe(outcome)) is not None:
            return update
    raise AssertionError(f"it says nothing after three times {outcome}")


def acknowledge(mine: Monitor, update: UpdateVim) -> None:
    assert mine.answered(update, Answer(status=update.status)) is None


def committed(
    seq: int = 1, status: VimStatus = REACHABLE, *, generation: int = 7, holder: str = HOLDER
) -> CommittedStatus:
    return CommittedStatus(generation, seq, status, holder)


def update_of(conclusion: UpdateVim | Left | None) -> UpdateVim:
    assert isinstance(conclusion, UpdateVim)
    return conclusion


# What it says


def test_the_first_success_is_told_at_once_with_all_that_proves_who_says_it() -> None:
    assert monitor().observe(UP) == messages.update_of(
        {
            "vim_id": "tokyo",
            "status": REACHABLE,
            "action_id": "a7",
            "generation": 7,
            "seq": 1,
            "holder": HOLDER,
            "reason": "connected in 3 ms",
        }
    )


def test_nothing_is_said_before_a_failure_is_confirmed() -> None:
    mine = monitor()
    assert mine.observe(DOWN) is None
    assert mine.checked(None, None) is None
    assert update_of(mine.observe(DOWN)).status == UNREACHABLE


def test_a_status_under_way_is_not_said_again() -> None:
    mine = monitor()
    told(mine, UP)
    assert mine.observe(UP) is None
    assert mine.checked(None, None) is None


def test_an_acknowledged_status_is_not_said_again() -> None:
    mine = watching()
    assert mine.observe(UP) is None
    assert mine.checked(HELD, committed()) is None


def test_a_change_takes_the_place_of_what_is_under_way_and_has_a_newer_seq() -> None:
    mine = monitor()
    up, down = told(mine, UP), told(mine, DOWN)
    assert (down.status, down.seq) == (UNREACHABLE, 2)
    assert mine.answered(up, Answer(status=REACHABLE)) is None
    assert mine.said is down


def test_a_change_back_while_the_change_is_under_way_is_said_too() -> None:
    mine = watching()
    told(mine, DOWN)
    assert told(mine, UP).seq == 3


def test_a_reason_is_one_line_of_bounded_length() -> None:
    reason = told(monitor(), Outcome(status=REACHABLE, reason="a\nb\0\x1b\ud800" + "x" * 5000)).reason
    assert reason.startswith("a b   xxx")
    assert len(reason) == REASON_MAX


def test_a_new_reason_for_a_bad_status_is_told_with_the_next_check() -> None:
    mine = watching(UNREACHABLE)
    assert mine.observe(Outcome(status=UNREACHABLE, reason="no answer within 5 s")) is None
    said = update_of(mine.checked(HELD, committed(status=UNREACHABLE)))
    assert (said.seq, said.reason) == (2, "no answer within 5 s")


def test_a_new_reason_for_a_good_status_is_not_worth_a_call() -> None:
    mine = watching()
    mine.observe(Outcome(status=REACHABLE, reason="connected in 9 ms"))
    assert mine.checked(HELD, committed()) is None


def test_it_is_settled_while_reachable_is_what_it_found_last_and_what_was_said() -> None:
    mine = monitor()
    assert not mine.settled
    update = told(mine, UP)
    assert mine.settled, "said, and under way"
    acknowledge(mine, update)
    assert mine.settled
    mine.observe(DOWN)
    assert not mine.settled, "a change is being confirmed"
    mine.observe(UP)
    assert mine.settled
    assert not watching(UNREACHABLE).settled


def test_a_bug_is_told_at_once_and_the_vim_can_become_reachable_again() -> None:
    mine = watching()
    said = update_of(mine.fail(ZeroDivisionError("division by zero")))
    assert (said.status, said.reason) == (UNKNOWN, "cannot probe: ZeroDivisionError: division by zero")
    assert mine.failed
    assert told(mine, UP).status == REACHABLE
    assert not mine.failed


def test_an_endless_text_of_a_bug_is_not_kept() -> None:
    mine = monitor()
    mine.fail(ValueError("x" * 1_000_000))
    assert len(mine.health.reason) == REASON_MAX


# What it makes of an answer


def test_bad_action_ends_it() -> None:
    mine = monitor()
    assert mine.answered(told(mine, UP), Answer(status=BAD_ACTION)) == Left("bad_action")


def test_bad_action_ends_it_whichever_of_its_calls_that_answers() -> None:
    mine = monitor()
    up, _ = told(mine, UP), told(mine, DOWN)
    assert mine.answered(up, Answer(status=BAD_ACTION)) == Left("bad_action")


def test_known_already_under_this_seq_is_as_good_as_applied() -> None:
    mine = monitor()
    up = told(mine, UP)
    assert mine.answered(up, Answer(status=REACHABLE, applied=False, seq=1)) is None
    assert mine.checked(HELD, committed()) is None


def test_a_newer_seq_of_somebody_else_is_overtaken() -> None:
    mine = monitor()
    said = update_of(mine.answered(told(mine, UP), Answer(status=REACHABLE, applied=False, seq=12)))
    assert (said.status, said.seq) == (REACHABLE, 13)


def test_another_status_under_this_seq_is_overtaken() -> None:
    mine = monitor()
    said = update_of(mine.answered(told(mine, UP), Answer(status=UNKNOWN, applied=False, seq=1)))
    assert (said.status, said.seq) == (REACHABLE, 2)


@pytest.mark.parametrize(
    "nonsense",
    [
        Answer(status=UNREACHABLE),
        Answer(status=PENDING),
        Answer(status=REACHABLE, applied=False),
        Answer(status=REACHABLE, applied=False, seq=0),
        Answer(status=REACHABLE, applied=False, seq=-3),
        Answer(status=REACHABLE, applied=False, seq=2**53 - 1),
        Answer(status=REACHABLE, applied=False, seq=2**62),
    ],
)
def test_an_answer_that_makes_no_sense_is_no_reason_to_call_again_at_once(nonsense: Answer) -> None:
    mine = watching()
    down = told(mine, DOWN)
    assert mine.answered(down, nonsense) is None
    again = update_of(mine.checked(HELD, committed()))
    assert (again.status, again.seq) == (UNREACHABLE, 3)


def test_an_answer_that_makes_no_sense_is_followed_by_the_next_probe() -> None:
    mine = monitor()
    assert mine.answered(told(mine, UP), Answer(status=UNKNOWN)) is None
    assert update_of(mine.observe(UP)).seq == 2


def test_what_changed_while_an_answer_was_awaited_is_said_after_it() -> None:
    mine = monitor()
    up = told(mine, UP)
    mine.said = up
    mine.health = replace(mine.health, status=UNREACHABLE)
    said = update_of(mine.answered(up, Answer(status=REACHABLE)))
    assert (said.status, said.seq) == (UNREACHABLE, 2)


# What it makes of a check


@pytest.mark.parametrize("lease", [Lease(8, "a8"), Lease(8, "a7"), Lease(8, None), Lease(7, None)])
def test_it_leaves_for_a_newer_lease_or_a_tombstone(lease: Lease) -> None:
    assert watching().checked(lease, committed()) == Left(f"lease {lease}")
    assert monitor().checked(lease, None) == Left(f"lease {lease}")


@pytest.mark.parametrize("lease", [None, Lease(6, "a6"), Lease(6, None), Lease(7, "another")])
def test_a_lease_that_proves_nothing_makes_it_ask_with_what_was_acknowledged(lease: Lease | None) -> None:
    mine = watching()
    asked = update_of(mine.checked(lease, committed()))
    assert (asked.status, asked.seq) == (REACHABLE, 1)
    acknowledge(mine, asked)
    assert mine.checked(HELD, committed()) is None


@pytest.mark.parametrize("lease", [None, Lease(6, "a6"), Lease(7, "another")])
def test_without_a_status_it_asks_in_the_third_check_that_this_is_not_known(lease: Lease | None) -> None:
    """Its first probe may be on its way; but one that hangs must not keep it for ever when its VIM is gone."""
    mine = monitor()
    assert mine.checked(lease, None) is None
    assert mine.checked(lease, None) is None
    asked = update_of(mine.checked(lease, None))
    assert (asked.status, asked.reason) == (UNKNOWN, "cannot probe: no probe has come to an end")
    acknowledge(mine, asked)
    assert update_of(mine.observe(UP)).status == REACHABLE, "the first success is told at once"


def test_without_a_status_it_waits_as_long_as_it_knows_that_it_is_wanted() -> None:
    mine = monitor()
    for lease in (None, None, HELD, None, None, HELD, HELD, HELD):
        assert mine.checked(lease, None) is None


@pytest.mark.parametrize(
    "found",
    [
        None,
        committed(status=UNKNOWN),
        committed(seq=2),
        committed(generation=6),
        committed(generation=9),
        committed(holder="another"),
    ],
)
def test_a_committed_status_other_than_its_own_is_overtaken(found: CommittedStatus | None) -> None:
    mine = watching()
    mine.seq = 4
    said = update_of(mine.checked(HELD, found))
    assert (said.status, said.seq) == (REACHABLE, 5)


def test_the_next_seq_is_above_the_one_read_of_this_generation() -> None:
    assert update_of(watching().checked(HELD, committed(seq=30))).seq == 31


def test_the_seq_of_another_generation_means_nothing() -> None:
    assert update_of(watching().checked(HELD, committed(seq=30, generation=6))).seq == 2


def test_a_seq_read_before_the_first_status_counts_too() -> None:
    mine = monitor()
    mine.checked(HELD, committed(seq=30))
    assert told(mine, UP).seq == 31


@pytest.mark.parametrize("seq", [2 + LEAP_MAX, 2**53 - 1, 2**53, 10**30])
def test_a_seq_that_leaps_too_far_ahead_is_not_believed(seq: int) -> None:
    mine = watching()
    assert update_of(mine.checked(HELD, committed(seq=seq))).seq == 2


# What Mistral hands over


def test_an_assignment_is_read_from_what_mistral_hands_over() -> None:
    assert parse_assignment("tokyo", "a7", 7, PROBE) == assignment()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vim_id", None),
        ("vim_id", ""),
        ("vim_id", 5),
        ("vim_id", "with space"),
        ("vim_id", "x" * 65),
        ("action_id", "tab\t"),
        ("action_id", None),
        ("generation", None),
        ("generation", -1),
        ("generation", 2**53),
        ("generation", "seven"),
        ("probe", None),
        ("probe", "http"),
        ("probe", {}),
        ("probe", {**PROBE, "rise": 0}),
        ("probe", {**PROBE, "colour": "red"}),
        ("auth_url", {**PROBE, "auth_url": "ftp://tokyo"}),
    ],
)
def test_an_unusable_input_is_refused_by_name_and_with_a_remedy(field: str, value: object) -> None:
    given: dict[str, object] = {"vim_id": "tokyo", "action_id": "a7", "generation": 7, "probe": PROBE}
    given["probe" if field == "auth_url" else field] = value
    with pytest.raises(InvalidInput) as refused:
        parse_assignment(**given)
    assert refused.value.field.startswith(field)
    assert refused.value.remedy


# The row follows the monitor


def test_what_it_knows_is_known_at_first_sight() -> None:
    mine = watching()
    assert mine.knows(raw(HELD), raw(committed()))
    mine.observe(DOWN)  # one is nothing, but the next may be something
    assert not mine.knows(raw(HELD), raw(committed()))
    mine.observe(UP)
    assert mine.knows(raw(HELD), raw(committed()))


@pytest.mark.parametrize(
    ("lease", "status"),
    [
        (None, raw(committed())),
        (raw(HELD), None),
        (raw(Lease(8, "a8")), raw(committed())),
        (raw(Lease(7, None)), raw(committed())),
        (raw(Lease(7, "another")), raw(committed())),
        (b"7:a7\xff", raw(committed())),
        (raw(HELD), raw(committed(seq=2))),
        (raw(HELD), raw(committed(status=UNREACHABLE))),
        (raw(HELD), raw(committed(holder="another"))),
    ],
)
def test_anything_else_is_read_closely(lease: bytes | None, status: bytes | None) -> None:
    assert not watching().knows(lease, status)


def test_what_is_not_acknowledged_or_not_so_any_more_is_not_known() -> None:
    assert not monitor().knows(raw(HELD), raw(committed()))
    down = watching(UNREACHABLE)
    assert not down.knows(raw(HELD), raw(committed(status=UNREACHABLE))), "its reason may be another"
    saying = watching()
    told(saying, DOWN)
    assert not saying.knows(raw(HELD), raw(committed()))
    again = watching()
    acknowledge(again, told(again, DOWN))
    acknowledge(again, told(again, UP))
    assert not again.knows(raw(HELD), raw(committed()))
    assert again.knows(raw(HELD), raw(committed(seq=3)))


def test_while_it_says_something_nothing_is_known_at_first_sight() -> None:
    mine = watching()
    assert mine.knows(raw(HELD), raw(committed()))
    acknowledged = update_of(mine.checked(None, committed()))
    assert not mine.knows(raw(HELD), raw(committed()))
    acknowledge(mine, acknowledged)
    assert mine.knows(raw(HELD), raw(committed()))


def test_what_was_known_at_first_sight_is_not_known_when_something_newer_was_acknowledged() -> None:
    mine = watching()
    assert mine.knows(raw(HELD), raw(committed()))
    for outcome in (DOWN, UP):
        acknowledge(mine, told(mine, outcome))
    assert not mine.knows(raw(HELD), raw(committed()))
    assert mine.knows(raw(HELD), raw(committed(seq=3)))


def test_what_was_known_at_first_sight_ends_the_checks_in_vain() -> None:
    mine = watching()
    mine.doubted(Doubt("prober degraded", lasting=False))

    def fall_and_check(times: int) -> None:
        assert [mine.observe(DOWN), mine.observe(DOWN)] == [None, None]
        assert [mine.checked(None, committed()) for _ in range(times)] == [None] * times

    fall_and_check(2)
    assert [mine.observe(UP), mine.observe(UP)] == [None, None]
    assert mine.knows(raw(HELD), raw(committed()))
    fall_and_check(2)


@dataclass
class Part:
    """A monitor and its caller: the newest that it said, under the id that an answer must have. `expects`: the values
    of its keys that nothing follows from, as a host keeps them."""

    monitor: Monitor
    pending: tuple[int, UpdateVim] | None = None
    left: Left | None = None
    expects: tuple[bytes | None, bytes | None] | None = None


@dataclass(frozen=True)
class Letter:
    part: Part
    number: int
    update: UpdateVim
    answer: Answer | None = None


OUTCOMES = st.sampled_from([UP, DOWN, Outcome(status=UNKNOWN, reason="cannot probe: no descriptor")])
WHICH = st.integers(min_value=0, max_value=50)


def committed_by(row: RowState) -> CommittedStatus | None:
    return CommittedStatus(row.generation, row.seq, row.status, row.holder) if row.holder else None


class World(RuleBasedStateMachine):
    """One VIM's row, what Redis says of it, and its monitors: the wanted one, and older ones that have yet to notice.

    The conductor's own rules answer; Redis forgets and lies, but for a newer lease than the row's; calls and answers
    are lost, late, out of order and doubled.
    """

    @initialize()
    def register(self) -> None:
        self.row = RowState(7, "a7", PENDING, 0, None)
        self.lease: Lease | None = HELD
        self.status: CommittedStatus | None = None
        self.calls: list[Letter] = []
        self.answers: list[Letter] = []
        self.number = 0
        self.said: dict[tuple[str, int], VimStatus] = {}
        self.parts = [Part(monitor())]

    @property
    def wanted(self) -> Part | None:
        return self.parts[-1] if self.row.action_id is not None else None

    def act(self, part: Part, conclusion: UpdateVim | Left | None) -> None:
        if conclusion is not None or not part.monitor.settled:
            part.expects = None
        if isinstance(conclusion, Left):
            assert part is not self.wanted, f"the wanted monitor left: {conclusion}"
            part.left, part.pending = conclusion, None
        elif conclusion is not None:
            assert conclusion.seq is not None
            said = self.said.setdefault((conclusion.holder, conclusion.seq), conclusion.status)
            assert said == conclusion.status, "one seq was used for two statuses"
            self.number += 1
            part.pending = (self.number, conclusion)

    def alive(self, which: int) -> Part:
        alive = [part for part in self.parts if part.left is None]
        return alive[which % len(alive)] if alive else self.parts[0]

    @rule(which=WHICH, outcome=OUTCOMES)
    def probe(self, which: int, outcome: Outcome) -> None:
        part = self.alive(which)
        if part.left is None:
            self.act(part, part.monitor.observe(outcome))

    @rule(which=WHICH)
    def bug(self, which: int) -> None:
        part = self.alive(which)
        if part.left is None:
            self.act(part, part.monitor.fail(ValueError("a bug")))

    @rule(which=WHICH)
    def send(self, which: int) -> None:
        part = self.alive(which)
        if part.pending is not None:
            self.calls.append(Letter(part, *part.pending))

    @rule(which=WHICH, keep=st.booleans())
    def handle(self, which: int, keep: bool) -> None:
        """A conductor handles a call; `keep`: and it comes back, to be handled again."""
        if not self.calls:
            return
        call = self.calls[which % len(self.calls)] if keep else self.calls.pop(which % len(self.calls))
        self.answers.append(replace(call, answer=self.answer(call.update)))

    def answer(self, update: UpdateVim) -> Answer:
        known = answer_from_cache(update, Cached(self.lease, self.status))
        if known is not None:
            return known
        report = Report(update.vim_id, update.action_id, update.status, update.seq, update.holder, update.reason)
        recorded = decide(self.row, report)
        assert recorded.row is not None
        if recorded.verdict is RecordVerdict.APPLIED:
            assert update.action_id == self.row.action_id
            self.row = recorded.row
        self.refresh()
        if recorded.verdict is RecordVerdict.BAD_ACTION:
            return Answer(status=BAD_ACTION)
        known_already = recorded.verdict is RecordVerdict.KNOWN
        return Answer(
            status=recorded.row.status, applied=not known_already, seq=recorded.row.seq if known_already else None
        )

    @rule()
    def refresh(self) -> None:
        """What the row says is written to Redis, where that is not behind what stands there."""
        row = self.row
        if self.lease is None or self.lease.generation < row.generation:
            self.lease = Lease(row.generation, row.action_id)
        place = (row.generation, row.seq)
        if row.holder and (self.status is None or (self.status.generation, self.status.seq) <= place):
            self.status = CommittedStatus(*place, row.status, row.holder)

    @rule(which=WHICH, keep=st.booleans())
    def deliver(self, which: int, keep: bool) -> None:
        if not self.answers:
            return
        letter = self.answers[which % len(self.answers)] if keep else self.answers.pop(which % len(self.answers))
        part = letter.part
        if part.pending is not None and part.pending[0] == letter.number and letter.answer is not None:
            part.pending = None
            self.act(part, part.monitor.answered(letter.update, letter.answer))

    @invariant()
    def one_more_success_of_a_settled_monitor_changes_its_words_alone(self) -> None:
        for part in self.parts:
            if part.monitor.settled:
                usual, short = replace(part.monitor), replace(part.monitor)
                assert usual.observe(UP) is None
                short.observe_again(UP.reason)
                assert usual == short

    @invariant()
    def what_nothing_followed_from_is_still_so(self) -> None:
        for part in self.parts:
            if part.expects is not None and part.left is None:
                expecting = replace(part.monitor)
                assert expecting.knows(*part.expects)
                assert expecting == part.monitor

    @rule(which=WHICH)
    def lose_a_call(self, which: int) -> None:
        if self.calls:
            self.calls.pop(which % len(self.calls))

    @rule(which=WHICH)
    def lose_an_answer(self, which: int) -> None:
        if self.answers:
            self.answers.pop(which % len(self.answers))

    @rule(which=WHICH)
    def check(self, which: int) -> None:
        part = self.alive(which)
        if part.left is None:
            mine, lease, status = part.monitor, raw(self.lease), raw(self.status)
            at_first_sight = replace(mine)
            known = at_first_sight.knows(lease, status)
            concluded = mine.read(lease, status)
            assert not known or (concluded is None and mine == at_first_sight), "it knew, and there was something to it"
            if known:
                part.expects = lease, status
            self.act(part, concluded)

    @rule(lower=st.integers(min_value=1, max_value=7), kind=st.sampled_from(["missing", "old", "another"]))
    def spoil_the_lease(self, lower: int, kind: str) -> None:
        generation = self.row.generation
        lies = {"missing": None, "old": Lease(generation - lower, "a0"), "another": Lease(generation, "another")}
        self.lease = lies[kind] if self.row.action_id is not None else None

    @rule(
        off=st.integers(min_value=-1, max_value=2),
        seq=st.integers(min_value=0, max_value=12),
        status=st.sampled_from(VimStatus),
        holder=st.sampled_from([HOLDER, "another", "next"]),
    )
    def spoil_the_status(self, off: int, seq: int, status: VimStatus, holder: str) -> None:
        self.status = CommittedStatus(self.row.generation + off, seq, status, holder)

    @rule()
    def forget_all(self) -> None:
        self.lease = self.status = None

    @rule()
    def give_up_on_the_vim(self) -> None:
        """Somebody believes that nobody watches: UNKNOWN, under the same seq."""
        self.row = self.row._replace(status=UNKNOWN)

    @rule(cached=st.booleans())
    def supersede(self, cached: bool) -> None:
        if len(self.parts) < 4 and self.row.action_id is not None:
            generation = self.row.generation + 1
            self.row = RowState(generation, f"a{generation}", PENDING, 0, None)
            self.parts.append(Part(Monitor(assignment(generation, f"a{generation}"), f"holder-{generation}")))
            if cached:
                self.lease = Lease(generation, f"a{generation}")

    @rule(cached=st.booleans())
    def deregister(self, cached: bool) -> None:
        if self.row.action_id is not None and len(self.parts) > 1:
            self.row = RowState(self.row.generation + 1, None, self.row.status, 0, None)
            if cached:
                self.lease = Lease(self.row.generation, None)

    @invariant()
    def when_faults_end_the_row_says_what_the_wanted_monitor_holds_true(self) -> None:
        if not hasattr(self, "row") or self.number % 3:
            return
        now = (self.row, self.lease, self.status, self.calls, self.answers, self.number, self.said, self.parts)
        self.calls, self.answers, self.said = list(self.calls), list(self.answers), dict(self.said)
        self.parts = [replace(part, monitor=replace(part.monitor)) for part in self.parts]
        copies = dict(zip(map(id, now[-1]), self.parts, strict=True))
        self.calls = [replace(letter, part=copies[id(letter.part)]) for letter in self.calls]
        self.answers = [replace(letter, part=copies[id(letter.part)]) for letter in self.answers]
        self.settle()
        self.row, self.lease, self.status, self.calls, self.answers, self.number, self.said, self.parts = now

    def settle(self) -> None:
        for _ in range(4):
            self.refresh()
            if self.lease is not None and self.lease.generation == self.row.generation:
                self.lease = Lease(self.row.generation, self.row.action_id)  # an equal lie is mended with a bump
            for which in range(len(self.parts)):
                self.check(which)
            for _ in range(4):
                for which in range(len(self.parts)):
                    self.send(which)
                while self.calls:
                    self.handle(0, keep=False)
                while self.answers:
                    self.deliver(0, keep=False)
        for part in self.parts:
            assert part is self.wanted or part.left is not None, "an unwanted monitor stays"
        if self.wanted is not None:
            health = self.wanted.monitor.health
            assert self.wanted.pending is None, "something waits for its answer"
            assert health.status in (PENDING, self.row.status), "the row says something else"
            if self.status == committed_by(self.row):
                assert replace(self.wanted.monitor).checked(self.lease, self.status) is None, "it goes on talking"


World.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)
TestTheRowFollowsTheWantedMonitor = World.TestCase
