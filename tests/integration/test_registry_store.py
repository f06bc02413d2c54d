"""The store's promises about single VIMs, on every kind of database."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update

from tests.integration.databases import registered
from vimmon.errors import NameTaken, VimChanged, VimExists, VimNotFound
from vimmon.registry import purging
from vimmon.registry.models import VIMS
from vimmon.registry.store import Report, VimStore
from vimmon.vim import Vim, VimStatus, VimType

R, U = VimStatus.REACHABLE, VimStatus.UNREACHABLE


def report(vim: Vim, status: VimStatus, seq: int | None = None, *, reason: str = "") -> Report:
    return Report(vim.id, str(vim.action_id), status, seq, "holder", reason)


def test_a_new_vim_is_pending_in_its_first_generation(store: VimStore) -> None:
    vim = registered(store, name="Tōkyō 🗼")
    assert (vim.status, vim.generation, vim.reason, vim.execution_id) == (VimStatus.PENDING, 1, None, None)
    assert (vim.name, vim.type, vim.action_id) == ("Tōkyō 🗼", VimType.OPENSTACK, "vim-1-a1")
    assert vim.probe == {"kind": "http", "preset": "keystone"}
    assert store.get("vim-1") == store.get("Tōkyō 🗼") == vim


def test_times_are_utc_by_the_databases_clock(store: VimStore) -> None:
    vim = registered(store)
    assert vim.created_at == vim.updated_at == vim.status_since
    assert vim.created_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - vim.created_at) < timedelta(minutes=1)  # one machine: only a zone could differ


def test_times_keep_their_microseconds(store: VimStore, engine: Engine) -> None:
    registered(store)
    moment = datetime(2030, 1, 2, 3, 4, 5, 123457, UTC)
    with engine.begin() as connection:
        connection.execute(update(VIMS).values(status_since=moment))
    assert store.get("vim-1").status_since == moment


def test_a_name_is_taken_while_its_vim_lives(store: VimStore) -> None:
    registered(store, "vim-1", name="tokyo")
    with pytest.raises(NameTaken, match="tokyo"):
        registered(store, "vim-2", name="tokyo")
    assert registered(store, "vim-2", name="Tokyo").id == "vim-2"  # another name: case counts
    store.deregister("vim-1")
    assert registered(store, "vim-3", name="tokyo").id == "vim-3"


def test_an_id_that_exists_is_not_called_a_taken_name(store: VimStore) -> None:
    registered(store, "vim-1", name="tokyo")
    with pytest.raises(VimExists):
        registered(store, "vim-1", name="osaka")


@pytest.mark.parametrize("given", ["vim-1", "tokyo", "TOKYO", "tokyo ", "tok", "", "nul\0", "\ud800", "x" * 300])
def test_only_a_living_vim_is_found_and_only_exactly(store: VimStore, given: str) -> None:
    registered(store, "vim-1", name="tokyo")
    if given in ("vim-1", "tokyo"):
        assert store.get(given).id == "vim-1"
        store.deregister("vim-1")
    with pytest.raises(VimNotFound):
        store.get(given)


def test_the_list_is_sorted_by_name_and_has_the_living_only(store: VimStore) -> None:
    for number, name in enumerate(["b", "a", "C", "é", "gone"]):
        registered(store, f"vim-{number}", name=name)
    store.deregister("vim-4")
    assert [vim.name for vim in store.list()] == ["C", "a", "b", "é"]
    store.record_statuses([report(store.get("a"), R)])
    assert [vim.name for vim in store.list(R)] == ["a"]
    assert [vim.name for vim in store.list(VimStatus.PENDING)] == ["C", "b", "é"]


def test_history_is_newest_first_and_limited(store: VimStore) -> None:
    vim = registered(store)
    store.record_statuses([report(vim, status, reason=f"{number}") for number, status in enumerate([R, U, U, R])])
    changes = store.history(vim.id)
    assert [(change.old, change.new, change.reason, change.seq) for change in changes] == [
        (U, R, "3", 4),
        (R, U, "1", 2),
        (VimStatus.PENDING, R, "0", 1),
    ]
    assert {(change.vim_id, change.generation, change.action_id) for change in changes} == {(vim.id, 1, "vim-1-a1")}
    assert store.history(vim.id, limit=1) == changes[:1]
    assert store.history(vim.id, limit=0) == store.history("unknown") == []


def test_a_restart_begins_anew_with_another_action(store: VimStore) -> None:
    vim = registered(store)
    store.record_execution(vim.id, generation=1, execution_id="e1")
    store.record_statuses([report(vim, R, 9, reason="HTTP 300")])
    new = store.restart(vim.id, expected_generation=1, action_id="a2", auth_url="http://b", probe={"kind": "tcp"})
    assert (new.generation, new.action_id, new.auth_url, new.probe) == (2, "a2", "http://b", {"kind": "tcp"})
    assert (new.status, new.reason, new.execution_id) == (VimStatus.PENDING, None, None)
    assert (new.name, new.type, new.created_at) == (vim.name, vim.type, vim.created_at)
    change = store.history(vim.id)[0]
    assert (change.old, change.new, change.generation, change.seq) == (R, VimStatus.PENDING, 2, 0)
    assert (change.action_id, change.at) == ("a2", new.status_since)
    [recorded] = store.record_statuses([Report(vim.id, "a2", U, 1, "another holder", None)])
    assert recorded.row is not None
    assert (recorded.row.seq, recorded.row.holder) == (1, "another holder")  # seq 0, and nobody held it


def test_a_restart_of_a_pending_vim_is_no_change_of_status(store: VimStore) -> None:
    vim = registered(store)
    new = store.restart(vim.id, expected_generation=1, action_id="a2", vim_type=VimType.GENERIC, name="new name")
    assert (new.status_since, new.type, new.name) == (vim.status_since, VimType.GENERIC, "new name")
    assert new.auth_url == vim.auth_url
    assert store.history(vim.id) == []
    assert store.get("new name") == new


def test_a_restart_of_another_generation_changes_nothing(store: VimStore) -> None:
    vim = registered(store)
    store.record_statuses([report(vim, R)])
    before = store.get(vim.id)
    for generation in (0, 2):
        with pytest.raises(VimChanged):
            store.restart(vim.id, expected_generation=generation, action_id="a2")
    assert store.get(vim.id) == before
    assert len(store.history(vim.id)) == 1


def test_only_a_living_vim_is_restarted_renamed_or_deregistered(store: VimStore) -> None:
    gone = registered(store)
    store.deregister(gone.id)
    for vim_id in (gone.id, "unknown", "nul\0"):
        with pytest.raises(VimNotFound):
            store.restart(vim_id, expected_generation=2, action_id="a2")
        with pytest.raises(VimNotFound):
            store.rename(vim_id, "new")
        with pytest.raises(VimNotFound):
            store.deregister(vim_id)


def test_neither_a_restart_nor_a_new_name_takes_anothers_name(store: VimStore) -> None:
    registered(store, "vim-1", name="tokyo")
    osaka = registered(store, "vim-2", name="osaka")
    with pytest.raises(NameTaken):
        store.restart("vim-2", expected_generation=1, action_id="a2", name="tokyo")
    with pytest.raises(NameTaken):
        store.rename("vim-2", "tokyo")
    assert store.get("vim-2") == osaka


def test_a_new_name_is_no_new_generation(store: VimStore) -> None:
    vim = registered(store)
    renamed = store.rename(vim.id, "kyoto")
    assert renamed == vim.model_copy(update={"name": "kyoto", "updated_at": renamed.updated_at})
    assert renamed.updated_at >= vim.updated_at
    assert store.rename(vim.id, "kyoto").name == "kyoto"
    assert registered(store, "vim-2", name=vim.name).name == vim.name  # the old one is free


def test_a_deregistered_vim_leaves_a_tombstone_of_a_higher_generation(store: VimStore) -> None:
    vim = registered(store)
    store.record_execution(vim.id, generation=1, execution_id="e1")
    gone = store.deregister(vim.id)
    assert (gone.vim_id, gone.action_id, gone.execution_id, gone.generation) == (vim.id, "vim-1-a1", "e1", 2)
    wanted = store.wanted(vim.id)
    assert wanted is not None
    assert (wanted.deleted, wanted.action_id, wanted.generation, wanted.execution_id) == (True, None, 2, "e1")


def test_a_deregistration_can_insist_on_the_generation_that_was_read(store: VimStore) -> None:
    vim = registered(store)
    with pytest.raises(VimChanged):
        store.deregister(vim.id, expected_generation=2)
    assert store.get(vim.id) == vim
    assert store.deregister(vim.id, expected_generation=1).generation == 2


def test_what_is_wanted_of_a_living_vim_is_its_action(store: VimStore) -> None:
    vim = registered(store)
    wanted = store.wanted(vim.id)
    assert wanted is not None
    assert (wanted.vim_id, wanted.generation, wanted.action_id, wanted.deleted) == (vim.id, 1, "vim-1-a1", False)
    assert (wanted.type, wanted.auth_url, wanted.probe) == (vim.type, vim.auth_url, vim.probe)
    assert store.wanted("unknown") is None


def test_an_execution_is_recorded_for_its_own_generation_only(store: VimStore) -> None:
    vim = registered(store)
    assert store.record_execution(vim.id, generation=1, execution_id="e1")
    assert store.record_execution(vim.id, generation=1, execution_id="e1")  # twice is no harm
    store.restart(vim.id, expected_generation=1, action_id="a2")
    assert not store.record_execution(vim.id, generation=1, execution_id="late")
    assert store.get(vim.id).execution_id is None
    assert not store.record_execution("unknown", generation=1, execution_id="e1")


def test_only_a_deregistered_vim_becomes_clean_and_only_once(store: VimStore) -> None:
    vim = registered(store)
    assert not store.record_clean(vim.id)
    store.deregister(vim.id)
    assert [store.record_clean(vim.id), store.record_clean(vim.id)] == [True, False]
    assert not store.record_clean("unknown")


def test_only_what_is_clean_and_old_is_purged_with_its_history(store: VimStore, engine: Engine) -> None:
    for name in ("living", "dirty", "fresh", "old"):
        vim = registered(store, name)
        store.record_statuses([report(vim, R), report(vim, U)])
        if name != "living":
            store.deregister(vim.id)
    with engine.begin() as connection:
        long_ago = VIMS.c.id.in_(["dirty", "old"])
        connection.execute(update(VIMS).where(long_ago).values(deleted_at=datetime.now(UTC) - timedelta(hours=1)))
    assert store.record_clean("fresh")
    assert store.record_clean("old")
    purged = store.purge(history_days=1, purge_after_s=900)
    assert (purged.vims, purged.changes) == (1, 2)
    assert [name for name in ("living", "dirty", "fresh", "old") if store.wanted(name)] == ["living", "dirty", "fresh"]
    assert [len(store.history(name)) for name in ("living", "dirty", "fresh", "old")] == [2, 2, 2, 0]


def test_history_older_than_asked_for_is_purged_in_chunks(store: VimStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "CHUNK", 3)
    vim = registered(store)
    store.record_statuses([report(vim, status) for status in [R, U] * 5])
    assert store.purge(history_days=1, purge_after_s=900).changes == 0
    assert store.purge(history_days=-1, purge_after_s=900).changes == 10  # whatever is older than tomorrow
    assert store.history(vim.id) == []
    assert store.get(vim.id).status == U
