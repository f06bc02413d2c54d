"""What follows from a list of Tacker's: names, changes, and when a large loss is believed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vimmon.tacker.listing import Listed, Listing, read_listing
from vimmon.tacker.plan import NO_NAME, Doubt, TackerPlan, is_large, plan
from vimmon.vim import NAME_MAX, Vim, VimOrigin, VimStatus, VimType

NOW = datetime(2026, 1, 1, tzinfo=UTC)
URL = "http://10.0.0.1:5000/v3"


def vim_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def registered(number: int, name: str | None = None, origin: VimOrigin = VimOrigin.TACKER) -> Vim:
    return Vim(
        id=vim_id(number),
        name=name or f"vim-{number}",
        type=VimType.OPENSTACK,
        auth_url=URL,
        probe={},
        status=VimStatus.REACHABLE,
        reason=None,
        status_since=NOW,
        action_id="a",
        generation=1,
        execution_id=None,
        origin=origin,
        created_at=NOW,
        updated_at=NOW,
    )


def listing(*numbers: int, names: dict[int, str] | None = None, tenant: str = "t" * 32) -> Listing:
    watched = {
        vim_id(n): Listed(vim_id(n), (names or {}).get(n, f"vim-{n}"), VimType.OPENSTACK, URL, tenant) for n in numbers
    }
    return Listing(watched, (), frozenset(watched))


def gone(found: TackerPlan) -> set[int]:
    return {int(vim.id[:8], 16) for vim in found.deregister}


@pytest.mark.parametrize(
    ("missing", "out_of", "large"),
    [
        (1, 1, False),
        (3, 3, False),
        (2, 4, False),
        (3, 4, True),
        (4, 4, True),
        (5, 10, False),
        (6, 10, True),
        (0, 9, False),
    ],
)
def test_more_than_half_of_at_least_four_is_a_large_loss(missing: int, out_of: int, large: bool) -> None:
    assert is_large(missing, out_of) is large


def test_a_large_loss_is_believed_when_the_list_has_said_so_three_times() -> None:
    vims = [registered(n) for n in range(4)]
    doubt = None
    for times in (1, 2):
        found = plan(listing(0), vims, doubt, now_ms=times)
        assert (found.deregister, found.doubt) == ((), Doubt(times, frozenset(map(vim_id, (1, 2, 3))), 4, 1))
        doubt = found.doubt
    found = plan(listing(0), vims, doubt, now_ms=3)
    assert (gone(found), found.doubt) == ({1, 2, 3}, None)


def test_the_operator_is_believed_at_once() -> None:
    found = plan(listing(), [registered(n) for n in range(9)], None, now_ms=1, believe=True)
    assert (gone(found), found.doubt) == (set(range(9)), None)


def test_nothing_at_all_follows_from_a_list_that_is_not_believed() -> None:
    vims = [registered(n) for n in range(4)]
    found = plan(listing(0, 7, names={0: "other"}), vims, None, now_ms=1)
    assert (found.deregister, found.register, found.update) == ((), (), ())


def test_a_list_that_says_the_usual_in_between_begins_anew() -> None:
    vims = [registered(n) for n in range(4)]
    first = plan(listing(0), vims, None, now_ms=1)
    assert plan(listing(0, 1, 2, 3), vims, first.doubt, now_ms=2).doubt is None
    again = plan(listing(0), vims, None, now_ms=3)
    assert again.doubt is not None
    assert (again.doubt.times, again.doubt.since_ms) == (1, 3)


def test_only_what_was_missing_each_time_is_believed_to_be_gone() -> None:
    vims = [registered(n) for n in range(6)]
    doubt = None
    for present in ([0, 1], [1, 2]):
        doubt = plan(listing(*present), vims, doubt, now_ms=1).doubt
    assert gone(plan(listing(2, 3), vims, doubt, now_ms=1)) == {4, 5}


def test_lists_that_have_nothing_missing_in_common_are_all_first_ones() -> None:
    vims = [registered(n) for n in range(4)]
    before = Doubt(2, frozenset([vim_id(9)]), 4, 1)
    found = plan(listing(0), vims, before, now_ms=5)
    assert found.doubt == Doubt(1, frozenset(map(vim_id, (1, 2, 3))), 4, 5)


def test_vims_by_hand_do_not_count_in_what_is_missing() -> None:
    by_hand = [registered(n, origin=VimOrigin.OPERATOR) for n in range(10, 20)]
    vims = [registered(n) for n in range(4)]
    assert plan(listing(0), vims + by_hand, None, now_ms=1).doubt is not None
    assert gone(plan(listing(0, 1), vims + by_hand, None, now_ms=1)) == {2, 3}


def test_the_first_to_have_a_name_keeps_it_and_the_smallest_id_gets_one_that_is_free() -> None:
    both = {1: "tokyo", 2: "tokyo"}
    names = {one.listed.vim_id: one.name for one in plan(listing(1, 2, names=both), [], None, now_ms=1).register}
    assert names == {vim_id(1): "tokyo", vim_id(2): "tokyo@tttttttt"}
    found = plan(listing(1, 2, names=both), [registered(2, "tokyo")], None, now_ms=1)
    assert [(one.name, one.vim) for one in found.register] == [("tokyo@tttttttt", None)]
    assert found.update == ()


def test_of_three_in_one_project_or_without_one_each_has_a_name_of_its_own() -> None:
    all_three = dict.fromkeys((1, 2, 3), "n" * NAME_MAX)
    for tenant in ("", "t" * 32):
        found = plan(listing(1, 2, 3, names=all_three, tenant=tenant), [], None, now_ms=1)
        names = {one.name for one in found.register}
        assert len(names) == 3
        assert max(map(len, names)) == NAME_MAX


def test_who_has_a_name_that_is_the_own_name_of_another_keeps_it_for_good() -> None:
    listed = {3: "a", 0: "a", 1: "a@tttttttt"}
    vims = [registered(0, "a"), registered(3, "b")]
    after = carried_out(plan(listing(*listed, names=listed), vims, None, now_ms=1), vims)
    assert {vim.id: vim.name for vim in after}[vim_id(3)] == "a@tttttttt"
    again = plan(listing(*listed, names=listed), after, None, now_ms=2)
    assert (again.update, again.register) == ((), ())


NAMES = st.sampled_from(["a", "b", "a@tttttttt", "b@tttttttt", "c"])


@settings(max_examples=300)
@given(
    listed=st.dictionaries(st.integers(0, 6), NAMES, max_size=7),
    rows=st.dictionaries(st.integers(0, 6), NAMES, max_size=7),
    by_hand=st.dictionaries(st.integers(7, 9), NAMES, max_size=3),
)
def test_whatever_stands_there_all_are_followed_under_different_names_and_then_nothing_is_left_to_do(
    listed: dict[int, str], rows: dict[int, str], by_hand: dict[int, str]
) -> None:
    taken: set[str] = set()
    vims: list[Vim] = []
    for origin, many in ((VimOrigin.OPERATOR, by_hand), (VimOrigin.TACKER, rows)):
        for number, name in many.items():
            if name not in taken:  # as the registry would have it
                taken.add(name)
                vims.append(registered(number, name, origin))
    found = plan(listing(*listed, names=listed), vims, None, now_ms=1, believe=True)
    after = carried_out(found, vims)
    assert len({vim.name for vim in after}) == len(after)
    assert {vim.id for vim in after if vim.origin == VimOrigin.TACKER} == {vim_id(n) for n in listed}
    assert [vim for vim in vims if vim.origin == VimOrigin.OPERATOR] == [
        vim for vim in after if vim.origin == VimOrigin.OPERATOR
    ]
    again = plan(listing(*listed, names=listed), after, None, now_ms=2)
    assert (again.deregister, again.update, again.register) == ((), (), ())


def carried_out(found: TackerPlan, vims: list[Vim]) -> list[Vim]:
    rows = {vim.id: vim for vim in vims}
    for vim in found.deregister:
        del rows[vim.id]
    for naming in found.update:
        rows[naming.listed.vim_id] = rows[naming.listed.vim_id].model_copy(update={"name": naming.name})
    for naming in found.register:
        assert naming.listed.vim_id not in rows
        rows[naming.listed.vim_id] = registered(int(naming.listed.vim_id[:8], 16), naming.name)
    return list(rows.values())


def test_one_for_which_every_name_is_taken_is_not_watched_and_said_so() -> None:
    own = [f"tokyo@{mark}" for mark in ("tttttttt", vim_id(1)[:8], vim_id(1))]
    by_hand = [registered(10 + n, name, VimOrigin.OPERATOR) for n, name in enumerate(["tokyo", *own])]
    found = plan(listing(1, 2, names={1: "tokyo", 2: "osaka"}), by_hand, None, now_ms=1)
    assert [naming.name for naming in found.register] == ["osaka"]
    assert [(one.vim_id, one.reason) for one in found.not_watched] == [(vim_id(1), NO_NAME)]


def test_of_two_entries_with_one_id_the_first_counts() -> None:
    good = {"id": vim_id(1), "name": "a", "type": "openstack", "auth_url": URL}
    bad = good | {"type": "vmware"}
    for entries, watched, skipped in (([good, bad], 1, 0), ([bad, good, bad], 0, 1), ([{}, {}], 0, 2)):
        found = read_listing(entries)
        assert (len(found.watched), len(found.not_watched)) == (watched, skipped)


def test_a_vim_that_can_no_longer_be_understood_keeps_its_name() -> None:
    found = plan(
        Listing(listing(2, names={2: "tokyo"}).watched, (), frozenset(map(vim_id, (1, 2)))),
        [registered(1, "tokyo")],
        None,
        now_ms=1,
    )
    assert [naming.name for naming in found.register] == ["tokyo@tttttttt"]
