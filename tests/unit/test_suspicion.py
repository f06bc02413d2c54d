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


def test_when_all_of_five_fail_the_prober_is_the_suspect_and_one_that_is_reached_clears_it() -> None:
    suspicion = Suspicion(lasting_s=120)
    for number in range(LEAST):
        assert suspicion.doubt(0) is None
        suspicion.saw(f"v{number}", False, 10)
    assert suspicion.doubt(129) == Doubt(suspicion.doubt(10).reason, lasting=False)  # type: ignore[union-attr]
    assert suspicion.doubt(130).lasting  # type: ignore[union-attr]
    suspicion.saw("v3", True, 131)
    assert suspicion.doubt(131) is None


def test_with_fewer_vims_nobody_is_suspected() -> None:
    suspicion = Suspicion(lasting_s=120)
    for number in range(LEAST - 1):
        suspicion.saw(f"v{number}", False, 0)
    assert suspicion.doubt(1000) is None


def test_when_too_few_are_left_the_suspicion_ends() -> None:
    suspicion = Suspicion(lasting_s=120)
    for number in range(LEAST):
        suspicion.saw(f"v{number}", False, 0)
    suspicion.forget("v0", 1)
    assert suspicion.doubt(1) is None


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from([True, False, None]))))
def test_it_is_suspected_exactly_while_all_of_at_least_five_fail(told: list[tuple[str, bool | None]]) -> None:
    suspicion, latest = Suspicion(lasting_s=120), dict[str, bool]()
    for vim_id, reached in told:
        if reached is None:
            suspicion.forget(vim_id, 0)
            latest.pop(vim_id, None)
        else:
            suspicion.saw(vim_id, reached, 0)
            latest[vim_id] = reached
        suspected = len(latest) >= LEAST and not any(latest.values())
        assert (suspicion.doubt(0) is not None) is suspected


def monitor() -> Monitor:
    probe = TcpProbe(auth_url="http://192.0.2.1:5000", rise=1, fall=1)
    return Monitor(Assignment("v", "a", 1, probe), "h")


def outcome(status: VimStatus) -> Outcome:
    return Outcome.model_validate({"status": status, "reason": "so"})


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
