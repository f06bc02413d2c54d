"""When the prober itself is the suspect, and what a monitor then says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimmon.actions.monitor import Assignment, Monitor
from vimmon.actions.suspicion import LEAST, Doubt, Suspicion
from vimmon.messages import Answer
from vimmon.probes import Outcome, TcpProbe
from vimmon.vim import VimStatus

DOUBT = Doubt("prober degraded", lasting=False)
LASTING = Doubt("prober degraded", lasting=True)


VIMS = [f"v{number}" for number in range(LEAST)]


def doubt(suspicion: Suspicion, vim_id: str, now: float) -> Doubt | None:
    suspicion.reconsider(now)
    return suspicion.doubt_of(vim_id)


def watching(*reached: str) -> Suspicion:
    """A prober that has reached all of these."""
    suspicion = Suspicion(lasting_s=120)
    for vim_id in reached:
        suspicion.saw(vim_id, True, 0)
    suspicion.reconsider(0)
    return suspicion


def test_when_all_of_five_fail_the_prober_is_the_suspect_and_one_that_is_reached_clears_it() -> None:
    suspicion = watching(*VIMS)
    for vim_id in VIMS:
        suspicion.reconsider(10)
        assert not suspicion.degraded
        suspicion.saw(vim_id, False, 10)
    assert set(suspicion.reconsider(129)) == set(VIMS)
    assert suspicion.degraded
    about = suspicion.doubt_of("v1")
    assert about is not None
    assert "every VIM that this executor watches fails" in about.reason
    assert not about.lasting
    assert set(suspicion.reconsider(130)) == set(VIMS)
    assert suspicion.doubt_of("v1") == Doubt(about.reason, lasting=True)
    assert suspicion.reconsider(131) == []
    suspicion.saw("v3", True, 131)
    assert set(suspicion.reconsider(131)) == set(VIMS)
    assert (suspicion.degraded, suspicion.doubt_of("v1")) == (False, None)


def test_with_fewer_vims_nobody_is_suspected() -> None:
    suspicion = watching(*VIMS[1:])
    for vim_id in VIMS[1:]:
        assert suspicion.saw(vim_id, False, 0) == []
        assert doubt(suspicion, vim_id, 1000) is None


def test_when_too_few_are_left_the_suspicion_ends() -> None:
    suspicion = watching(*VIMS)
    for vim_id in VIMS:
        suspicion.saw(vim_id, False, 0)
    suspicion.forget("v0", 1)
    assert doubt(suspicion, "v1", 1) is None


def test_one_that_begins_to_fail_waits_until_any_is_reached_and_some_are_asked_at_once() -> None:
    suspicion = watching(*VIMS, "last")
    assert suspicion.saw("v0", False, 10) == ["last", "v4", "v3", "v2"]
    assert suspicion.reconsider(10) == ["v0"]
    about = suspicion.doubt_of("v0")
    assert about is not None
    assert not about.lasting
    assert suspicion.doubt_of("v1") is None
    assert suspicion.saw("v0", False, 12) == [], "they have been asked"
    suspicion.saw("v4", True, 13)
    assert set(suspicion.reconsider(13)) == {"v0", "v4"}
    assert suspicion.doubt_of("v0") is None
    suspicion.saw("v0", False, 14)
    assert doubt(suspicion, "v0", 14) is None, "it has failed before, when others were reached"


def test_who_has_failed_since_is_not_asked_for_another() -> None:
    suspicion = watching(*VIMS, "last")
    suspicion.saw("last", False, 10)
    assert suspicion.saw("v0", False, 11) == ["v4", "v3", "v2", "v1"]


def test_it_is_calm_again_as_soon_as_it_is_reconsidered_after_one_was_reached() -> None:
    suspicion = watching(*VIMS)
    assert suspicion.calm
    suspicion.saw("v0", False, 10)
    suspicion.reconsider(10)
    suspicion.saw("v1", True, 11)
    assert not suspicion.calm
    suspicion.reconsider(11)
    assert suspicion.calm


def test_what_waits_for_too_long_is_not_known() -> None:
    suspicion = watching(*VIMS)
    suspicion.saw("v0", False, 10)
    assert not doubt(suspicion, "v0", 129).lasting  # type: ignore[union-attr]
    assert suspicion.reconsider(130) == ["v0"]
    assert suspicion.doubt_of("v0").lasting  # type: ignore[union-attr]


def test_no_more_are_asked_when_enough_fail() -> None:
    suspicion = watching(*[f"v{number}" for number in range(100)])
    asked = [len(suspicion.saw(f"v{number}", False, 0)) for number in range(10)]
    assert asked == [4, 4, 4, 4, 0, 0, 0, 0, 0, 0]


def test_one_that_is_reached_for_the_first_time_has_nobody_asked() -> None:
    suspicion = watching(*VIMS)
    assert suspicion.saw("new", True, 1) == []
    assert suspicion.reconsider(1) == ["new"]


def test_with_just_enough_vims_the_others_are_asked() -> None:
    suspicion = watching(*VIMS)
    assert suspicion.saw("v0", False, 1) == ["v4", "v3", "v2", "v1"]


def test_before_anything_was_seen_nobody_is_in_doubt() -> None:
    suspicion = Suspicion(lasting_s=120)
    assert suspicion.reconsider(0) == []
    assert not suspicion.degraded


def test_how_long_all_fail_counts_from_the_beginning_however_often_they_are_seen() -> None:
    suspicion = watching(*VIMS)
    for now in (10, 100):
        for vim_id in VIMS:
            suspicion.saw(vim_id, False, now)
    assert doubt(suspicion, "v1", 130).lasting  # type: ignore[union-attr]


def test_one_that_is_gone_does_not_tell_how_long_others_have_been_waiting() -> None:
    suspicion = watching(*VIMS, "gone")
    suspicion.saw("gone", False, 10)
    suspicion.forget("gone", 20)
    assert suspicion.reconsider(20) == ["gone"], "whoever is left is in no doubt"
    suspicion.saw("v0", False, 100)
    assert not doubt(suspicion, "v0", 135).lasting  # type: ignore[union-attr]


def test_when_the_only_one_that_was_reached_is_gone_the_others_are_in_doubt() -> None:
    suspicion = watching(*VIMS, "last")
    for vim_id in VIMS:
        suspicion.saw(vim_id, False, 10)
        suspicion.saw("last", True, 11)
    suspicion.reconsider(11)
    suspicion.forget("last", 12)
    assert set(suspicion.reconsider(12)) == set(VIMS)
    assert suspicion.degraded


def test_when_all_are_gone_the_prober_is_no_suspect_any_more() -> None:
    suspicion = watching(*VIMS)
    for vim_id in VIMS:
        suspicion.saw(vim_id, False, 10)
    suspicion.reconsider(10)
    assert suspicion.degraded
    for vim_id in VIMS:
        suspicion.forget(vim_id, 11)
    suspicion.reconsider(11)
    assert not suspicion.degraded


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from([True, False, None]))))
def test_it_is_suspected_exactly_while_all_of_at_least_five_fail(told: list[tuple[str, bool | None]]) -> None:
    suspicion, latest, believed = Suspicion(lasting_s=120), dict[str, bool](), dict[str, Doubt | None]()
    failing_since_any_was_reached: set[str] = set()
    for vim_id, reached in told:
        if reached is None:
            suspicion.forget(vim_id, 0)
            latest.pop(vim_id, None)
            failing_since_any_was_reached.discard(vim_id)
        else:
            suspicion.saw(vim_id, reached, 0)
            if reached:
                failing_since_any_was_reached.clear()
            elif latest.get(vim_id, True):
                failing_since_any_was_reached.add(vim_id)
            latest[vim_id] = reached
        believed |= {touched: suspicion.doubt_of(touched) for touched in suspicion.reconsider(0)}
        enough = len(latest) >= LEAST
        assert suspicion.degraded is (enough and not any(latest.values()))
        for known in latest:
            waits = enough and known in failing_since_any_was_reached
            assert (suspicion.doubt_of(known) is not None) is (suspicion.degraded or waits)
            assert believed.get(known) == suspicion.doubt_of(known), "whoever it concerns was told"


def test_who_was_reached_before_is_noted_shortly_while_nobody_is_in_doubt() -> None:
    suspicion = watching(*VIMS, "last")
    assert suspicion.calm
    assert suspicion.was_reached("v2")
    assert not suspicion.was_reached("never seen")
    suspicion.reached_again(["v1", "v2"])
    assert suspicion.saw("v0", False, 10) == ["v2", "v1", "last", "v4"], "those that were reached last"
    assert not suspicion.calm, "the word of any other clears it"
    suspicion.saw("v1", True, 11)
    suspicion.reconsider(11)
    assert suspicion.calm
    assert suspicion.was_reached("v1")
    assert not suspicion.was_reached("v0"), "it failed"


def monitor() -> Monitor:
    probe = TcpProbe(auth_url="http://192.0.2.1:5000", rise=1, fall=1)
    return Monitor(Assignment("v", "a", 1, probe), "h")


def outcome(status: VimStatus) -> Outcome:
    return Outcome(status=status, reason="so")


def acknowledged(status: VimStatus) -> Monitor:
    one = monitor()
    said = one.observe(outcome(status))
    assert said is not None
    assert one.answered(said, Answer(status=said.status)) is None
    return one


def test_while_the_prober_is_suspected_no_vim_becomes_unreachable() -> None:
    one = acknowledged(VimStatus.REACHABLE)
    one.doubted(DOUBT)
    assert one.observe(outcome(VimStatus.UNREACHABLE)) is None
    assert one.checked(None, one.acknowledged) is None
    assert one.doubted(None) is None, "failures are counted from the beginning"
    said = one.observe(outcome(VimStatus.UNREACHABLE))
    assert said is not None
    assert said.status == VimStatus.UNREACHABLE


def test_when_it_lasts_they_are_unknown_with_that_reason() -> None:
    one = acknowledged(VimStatus.REACHABLE)
    one.doubted(DOUBT)
    one.observe(outcome(VimStatus.UNREACHABLE))
    said = one.doubted(LASTING)
    assert said is not None
    assert (said.status, said.reason) == (VimStatus.UNKNOWN, "prober degraded")


def test_what_was_unreachable_before_stays_so() -> None:
    one = acknowledged(VimStatus.UNREACHABLE)
    for doubt in (DOUBT, LASTING):
        assert one.doubted(doubt) is None
    assert one.acknowledged is not None
    assert one.acknowledged.status == VimStatus.UNREACHABLE


@pytest.mark.parametrize("doubt", [DOUBT, LASTING])
def test_what_is_reached_is_said_whatever_is_suspected(doubt: Doubt) -> None:
    one = acknowledged(VimStatus.UNREACHABLE)
    one.doubted(doubt)
    said = one.observe(outcome(VimStatus.REACHABLE))
    assert said is not None
    assert said.status == VimStatus.REACHABLE
