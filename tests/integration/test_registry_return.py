"""A VIM that comes back under its id: on every kind of database its generation goes on, and nobody is in two rows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine, update

from tests.integration.databases import registered, servers_only
from vimmon.errors import InvalidInput, NameTaken, VimExists
from vimmon.registry import purging
from vimmon.registry.models import VIMS
from vimmon.registry.store import RecordVerdict, Report, VimStore
from vimmon.vim import Vim, VimStatus, check_vim_id


def report(vim: Vim, action_id: str) -> Report:
    return Report(vim.id, action_id, VimStatus.REACHABLE, 9, "holder", "HTTP 300")


def test_it_is_new_in_all_but_its_id_and_the_generation_that_follows(store: VimStore) -> None:
    old = registered(store, name="tokyo")
    store.record_statuses([report(old, "vim-1-a1")])
    store.record_execution(old.id, generation=1, execution_id="e1")
    assert store.deregister(old.id).generation == 2
    assert store.record_clean(old.id)
    new = registered(store, name="edo", action_id="a2")
    assert (new.name, new.generation, new.action_id, new.status) == ("edo", 3, "a2", VimStatus.PENDING)
    assert (new.reason, new.execution_id) == (None, None)
    assert store.get("edo") == new
    assert (store.history(old.id)[0].old, store.history(old.id)[0].generation) == (VimStatus.REACHABLE, 3)
    assert not store.record_clean(old.id), "it lives"
    store.deregister(old.id)
    assert store.uncleaned(older_than_s=-1) == [old.id], "what it has left since is not clean yet"
    assert store.record_clean(old.id)


def test_what_watched_it_before_may_not_report_and_what_watches_now_begins_anew(store: VimStore) -> None:
    old = registered(store)
    store.record_statuses([report(old, "vim-1-a1")])
    store.deregister(old.id)
    new = registered(store, action_id="a2")
    late, first = store.record_statuses(
        [report(old, "vim-1-a1"), Report(new.id, "a2", VimStatus.UNREACHABLE, 1, "h", "")]
    )
    assert (late.verdict, first.verdict) == (RecordVerdict.BAD_ACTION, RecordVerdict.APPLIED)


def test_one_that_lives_is_not_registered_again(store: VimStore) -> None:
    old = registered(store, name="tokyo")
    with pytest.raises(VimExists):
        registered(store, name="edo")
    assert store.list() == [old]


def test_it_takes_nobodys_name(store: VimStore) -> None:
    registered(store, "vim-1", name="tokyo")
    store.deregister("vim-1")
    registered(store, "vim-2", name="tokyo")
    with pytest.raises(NameTaken):
        registered(store, "vim-1", name="tokyo")
    wanted = store.wanted("vim-1")
    assert wanted is not None
    assert (wanted.deleted, wanted.generation) == (True, 2)


@servers_only
@pytest.mark.parametrize("left", [False, True])
def test_of_many_who_register_it_at_once_one_does(store: VimStore, left: bool) -> None:
    if left:
        registered(store)
        store.deregister("vim-1")
    barrier = Barrier(4)

    def run(number: int) -> str:
        barrier.wait(30)
        try:
            return str(registered(store, name=f"n{number}", action_id=f"b{number}").action_id)
        except VimExists:
            return ""

    with ThreadPoolExecutor(4) as pool:
        done = sorted(pool.map(run, range(4)))
    assert done[:3] == ["", "", ""]
    assert store.get("vim-1").action_id == done[3]
    assert store.get("vim-1").generation == (3 if left else 1)


def test_a_purge_that_was_about_to_delete_it_does_not(
    store: VimStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for vim_id in ("vim-1", "vim-2"):
        registered(store, vim_id)
        store.deregister(vim_id)
        assert store.record_clean(vim_id)
    with engine.begin() as connection:
        connection.execute(update(VIMS).values(deleted_at=datetime.now(UTC) - timedelta(hours=1)))
    delete: Callable[..., int] = purging._delete

    calls = count()

    def comes_back(*args: Any) -> int:
        if next(calls) == 1:  # the history of those that were found just now; first, that of all goes by its age
            registered(store, "vim-1", action_id="a2")
        return delete(*args)

    monkeypatch.setattr(purging, "_delete", comes_back)
    purged = purging.purge(engine, history_days=1, purge_after_s=900)
    assert purged.vims == 1
    assert store.get("vim-1").action_id == "a2"
    assert store.wanted("vim-2") is None


@pytest.mark.parametrize(
    "given", ["", "tokyo", "7F9C2BA4-e88f-4cde-9f0f-1e2d3c4b5a69", "7f9c2ba4e88f4cde9f0f1e2d3c4b5a69"]
)
def test_an_id_is_a_uuid_in_small_letters(given: str) -> None:
    with pytest.raises(InvalidInput, match="id: "):
        check_vim_id(given)
    assert check_vim_id("7f9c2ba4-e88f-4cde-9f0f-1e2d3c4b5a69")
