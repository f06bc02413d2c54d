"""What is read from Redis as a lease or a status, and what an action must conclude from it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vimmon.lease.model import LEAP_MAX, CommittedStatus, Lease, Verdict, judge, parse_lease, parse_status
from vimmon.vim import VimStatus

MINE, OTHER = "3f2c", "9d1e"
generations = st.integers(min_value=0, max_value=10**15 - 1)
near = st.integers(min_value=0, max_value=20)
action_ids = st.sampled_from([MINE, OTHER])


@pytest.mark.parametrize(
    ("text", "lease"),
    [
        ("7:3f2c", Lease(7, "3f2c")),
        ("0:a", Lease(0, "a")),
        ("8:-", Lease(8, None)),
        ("7:a:b", Lease(7, "a:b")),
    ],
)
def test_a_lease_is_a_generation_and_an_action(text: str, lease: Lease) -> None:
    assert parse_lease(text) == lease


@pytest.mark.parametrize(
    "text",
    [None, "", ":", "7", "7:", ":a", "-1:a", "+7:a", "7.0:a", "1e3:a", " 7:a", "7 :a", "seven:a", "٧:a", "²:a", "-:7"],
)
def test_anything_else_is_no_lease(text: str | None) -> None:
    assert parse_lease(text) is None


@settings(deadline=None)
@given(generation=generations, action_id=st.none() | st.from_regex(r"[0-9a-f-]{2,36}", fullmatch=True))
def test_a_lease_is_read_as_it_was_written(generation: int, action_id: str | None) -> None:
    lease = Lease(generation, action_id)
    assert parse_lease(str(lease)) == lease


@settings(deadline=None)
@given(text=st.text(max_size=40))
def test_no_text_of_any_kind_breaks_the_reading(text: str) -> None:
    lease, status = parse_lease(text), parse_status(text)
    assert lease is None or ":" in text
    assert status is None or text.count(":") >= 3


@settings(deadline=None)
@given(
    generation=generations,
    seq=generations,
    status=st.sampled_from(VimStatus),
    holder=st.from_regex(r"[!-~]{0,40}", fullmatch=True),
)
def test_a_status_is_read_as_it_was_written(generation: int, seq: int, status: VimStatus, holder: str) -> None:
    committed = CommittedStatus(generation, seq, status, holder)
    assert parse_status(str(committed)) == committed


def test_the_holder_of_a_status_may_have_colons() -> None:
    status = parse_status("7:12:REACHABLE:mistral-1:42:ab12:ff00")
    assert status == CommittedStatus(7, 12, VimStatus.REACHABLE, "mistral-1:42:ab12:ff00")


@pytest.mark.parametrize(
    "text",
    [None, "", ":::", "7:12:REACHABLE", "7:12:reachable:h", "7:12:GONE:h", "-7:12:REACHABLE:h", "7:x:REACHABLE:h"],
)
def test_anything_else_is_no_status(text: str | None) -> None:
    assert parse_status(text) is None


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("7:3f2c", Verdict.HELD),
        (None, Verdict.ASK),
        ("nonsense", Verdict.ASK),
        ("6:3f2c", Verdict.ASK),
        ("6:9d1e", Verdict.ASK),
        ("6:-", Verdict.ASK),
        ("7:9d1e", Verdict.ASK),
        ("8:9d1e", Verdict.EXIT),
        ("8:3f2c", Verdict.EXIT),
        ("7:-", Verdict.EXIT),
        ("8:-", Verdict.EXIT),
    ],
)
def test_what_the_action_of_generation_7_concludes(text: str | None, verdict: Verdict) -> None:
    assert judge(parse_lease(text), generation=7, action_id=MINE) is verdict


@settings(deadline=None)
@given(
    mine=generations | near,
    lease=st.one_of(
        st.none(),
        st.builds(Lease, generations | near, action_ids),
        st.builds(Lease, generations | near, st.none()),
        st.text(max_size=20).map(parse_lease),
    ),
)
def test_only_a_higher_generation_or_a_tombstone_not_below_ends_an_action(mine: int, lease: Lease | None) -> None:
    newer = lease is not None and mine < lease.generation <= mine + LEAP_MAX
    proof = newer or (lease is not None and lease.action_id is None and lease.generation == mine)
    assert (judge(lease, generation=mine, action_id=MINE) is Verdict.EXIT) == proof


@settings(deadline=None)
@given(mine=generations, lower=generations, action_id=st.none() | action_ids)
def test_the_wanted_action_never_leaves_for_a_lease_of_the_past(mine: int, lower: int, action_id: str | None) -> None:
    mine, lower = max(mine, lower) + 1, min(mine, lower)
    assert judge(Lease(lower, action_id), generation=mine, action_id=MINE) is Verdict.ASK
    assert judge(None, generation=mine, action_id=MINE) is Verdict.ASK
    assert judge(Lease(mine, OTHER), generation=mine, action_id=MINE) is Verdict.ASK
    assert judge(Lease(mine, MINE), generation=mine, action_id=MINE) is Verdict.HELD


def test_a_lease_that_leaps_too_far_ahead_is_no_proof() -> None:
    for generation, verdict in ((7 + LEAP_MAX, Verdict.EXIT), (8 + LEAP_MAX, Verdict.ASK)):
        for action_id in ("x", None):
            assert judge(Lease(generation, action_id), generation=7, action_id="a") is verdict
