"""A VIM found by what somebody types, on every kind of database."""

import pytest

from tests.integration.databases import registered
from vimmon.errors import VimAmbiguous, VimNotFound
from vimmon.registry.store import VimStore

A = "3f2c1111-0000-4000-8000-000000000001"
B = "3f2d2222-0000-4000-8000-000000000002"
C = "77777777-0000-4000-8000-000000000003"


def fill(store: VimStore, **names: str) -> None:
    for name, vim_id in names.items():
        registered(store, vim_id, name=name)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("tokyo", "tokyo"),  # and not the other two that begin so
        ("tokyo-2", "tokyo-2"),
        ("tokyo_", "tokyo_x"),  # _ stands for itself
        ("os", "osaka"),
        (A, "tokyo"),
        ("3f2c", "tokyo"),
        ("3F2C1", "tokyo"),  # as others write a UUID
        ("3f2c1111-", "tokyo"),
    ],
)
def test_a_name_an_id_or_the_only_start_of_one_finds_it(store: VimStore, typed: str, name: str) -> None:
    fill(store, tokyo=A, tokyo_x=B, osaka=C)
    registered(store, "88888888-0000-4000-8000-000000000004", name="tokyo-2")
    assert store.find(typed).name == name


@pytest.mark.parametrize("typed", ["", " ", "x", "OSAKA", "osaka ", "%", "o%", "0000", "osaka\0", "é" * 300, "\ud800"])
def test_what_begins_no_name_and_no_id_finds_nothing(store: VimStore, typed: str) -> None:
    fill(store, tokyo=A, osaka=C)
    with pytest.raises(VimNotFound):
        store.find(typed)


def test_a_start_of_several_is_refused_with_all_of_them(store: VimStore) -> None:
    fill(store, tokyo=A, toyama=B, osaka=C)
    with pytest.raises(VimAmbiguous) as caught:
        store.find("to")
    assert str(caught.value) == f"'to' is the start of 2 VIMs:\n  tokyo ({A})\n  toyama ({B})"
    with pytest.raises(VimAmbiguous, match="3f2"):
        store.find("3f2")


def test_a_name_that_looks_like_the_start_of_an_id_is_the_name_where_it_is_whole(store: VimStore) -> None:
    registered(store, C, name="3f2c")
    registered(store, A, name="tokyo")
    assert store.find("3f2c").id == C
    with pytest.raises(VimAmbiguous) as caught:
        store.find("3f2")
    assert f"3f2c ({C})" in str(caught.value)
    assert f"tokyo ({A})" in str(caught.value)
    assert store.find("3f2c1").id == A


def test_many_candidates_are_not_all_shown(store: VimStore) -> None:
    for number in range(13):
        registered(store, f"{number:08}-0000-4000-8000-000000000000", name=f"tokyo-{number:02}")
    with pytest.raises(VimAmbiguous) as caught:
        store.find("tok")
    lines = str(caught.value).splitlines()
    assert (len(lines), lines[-1]) == (12, "  and 3 more")


def test_a_deregistered_vim_is_not_found(store: VimStore) -> None:
    fill(store, tokyo=A, toyama=B)
    store.deregister(A)
    assert store.find("to").name == "toyama"
    assert store.names("to", limit=9) == ["toyama"]
    with pytest.raises(VimNotFound):
        store.find(A)


def test_names_are_completed_as_they_are_written(store: VimStore) -> None:
    fill(store, Tokyo=A, tokyo=B, osaka=C)
    assert store.names("t", limit=9) == ["tokyo"]
    assert sorted(store.names("", limit=9)) == ["Tokyo", "osaka", "tokyo"]
    assert len(store.names("", limit=2)) == 2
    assert store.names("t\0", limit=9) == []
