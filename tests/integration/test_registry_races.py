"""Several at once: what is promised when two servers or conductors change the same VIMs."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest
from sqlalchemy import Connection, event, update

from tests.integration.databases import registered, servers_only
from vimmon.errors import NameTaken, VimChanged, VimNotFound
from vimmon.registry.database import open_engine
from vimmon.registry.models import VIMS
from vimmon.registry.store import RecordVerdict, Report, VimStore
from vimmon.registry.transactions import write
from vimmon.vim import VimStatus

T = TypeVar("T")
STATUSES = (VimStatus.REACHABLE, VimStatus.UNREACHABLE)


def at_once(url: str, *works: Callable[[VimStore], T]) -> list[T]:
    """What each work returns; each in a thread with an engine of its own, all beginning together."""
    barrier = Barrier(len(works))

    def run(work: Callable[[VimStore], T]) -> T:
        engine = open_engine(url)
        store = VimStore(engine)
        store.list()  # connected
        barrier.wait(30)
        try:
            return work(store)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def chained(store: VimStore, vim_id: str) -> bool:
    """Whether each change of status begins where the one before ended, and the last is the row's."""
    changes = store.history(vim_id, 10_000)[::-1]
    news = [VimStatus.PENDING, *(change.new for change in changes)]
    return [change.old for change in changes] == news[:-1] and store.get(vim_id).status == news[-1]


def test_generations_grow_by_exactly_the_accepted_changes(store: VimStore, migrated_url: str) -> None:
    registered(store)

    def restarts(mine: VimStore) -> int:
        accepted = 0
        for number in range(25):
            generation = mine.get("vim-1").generation
            try:
                mine.restart("vim-1", expected_generation=generation, action_id=f"{id(mine)}-{number}")
            except VimChanged:
                continue
            accepted += 1
        return accepted

    accepted = at_once(migrated_url, restarts, restarts, restarts, restarts)
    assert store.get("vim-1").generation == 1 + sum(accepted)
    assert sum(accepted) >= 25


@pytest.mark.parametrize("times", [1, 2])
def test_reports_in_any_order_from_several_conductors_all_count_once(
    store: VimStore, migrated_url: str, times: int
) -> None:
    vims = [registered(store, f"vim-{number:02}") for number in range(20)]

    troubles: list[object] = []

    def reports(mine: VimStore) -> int:
        event.listen(mine._engine, "handle_error", troubles.append)
        chance, applied = random.Random(id(mine)), 0
        for _ in range(12):
            batch = [Report(vim.id, f"{vim.id}-a1", chance.choice(STATUSES), None, "h", "") for vim in vims * times]
            chance.shuffle(batch)
            applied += sum(one.verdict == RecordVerdict.APPLIED for one in mine.record_statuses(batch))
        return applied

    applied = at_once(migrated_url, reports, reports, reports, reports)
    assert applied == [12 * 20 * times] * 4
    assert not troubles  # nobody had to begin again: all lock in one order
    probe = [Report(vim.id, f"{vim.id}-a1", VimStatus.REACHABLE, 0, "h", "") for vim in vims]
    assert {one.row.seq for one in store.record_statuses(probe) if one.row} == {4 * 12 * times}
    assert all(chained(store, vim.id) for vim in vims)


def test_a_seq_counts_once_however_many_bring_it(store: VimStore, migrated_url: str) -> None:
    registered(store)

    def reports(mine: VimStore) -> list[int]:
        applied = []
        for seq in range(1, 40):
            [one] = mine.record_statuses([Report("vim-1", "vim-1-a1", STATUSES[seq % 2], seq, "h", "")])
            if one.verdict == RecordVerdict.APPLIED:
                applied.append(seq)
        return applied

    applied = [seq for mine in at_once(migrated_url, reports, reports, reports) for seq in mine]
    assert len(applied) == len(set(applied))
    assert max(applied) == 39
    assert chained(store, "vim-1")


def test_no_report_of_an_old_action_lands_after_a_restart(store: VimStore, migrated_url: str) -> None:
    registered(store, action_id="g1")

    def restarts(mine: VimStore) -> int:
        for generation in range(1, 40):
            mine.restart("vim-1", expected_generation=generation, action_id=f"g{generation + 1}")
        return 0

    def reports(mine: VimStore) -> int:
        generation, count = 1, 0
        while generation < 40:
            status = STATUSES[count % 2]
            [one] = mine.record_statuses([Report("vim-1", f"g{generation}", status, None, "h", "")])
            assert one.row is not None
            assert (one.verdict == RecordVerdict.APPLIED) == (one.row.action_id == f"g{generation}")
            generation, count = one.row.generation, count + 1
        return count

    at_once(migrated_url, restarts, reports, reports)
    changes = store.history("vim-1", 10_000)[::-1]
    assert all(change.action_id == f"g{change.generation}" for change in changes)
    assert [change.generation for change in changes] == sorted(change.generation for change in changes)
    assert chained(store, "vim-1")


def test_one_of_several_gets_a_name(store: VimStore, migrated_url: str) -> None:
    def registers(number: int) -> Callable[[VimStore], int]:
        def work(mine: VimStore) -> int:
            got = 0
            for name in range(15):
                try:
                    registered(mine, f"{number}-{name}", name=f"name {name}")
                except NameTaken:
                    continue
                got += 1
            return got

        return work

    assert sum(at_once(migrated_url, *map(registers, range(4)))) == 15
    assert len(store.list()) == 15


def test_one_of_several_deregisters(store: VimStore, migrated_url: str) -> None:
    for number in range(15):
        registered(store, f"vim-{number}")

    def deregisters(mine: VimStore) -> int:
        done = 0
        for number in range(15):
            try:
                gone = mine.deregister(f"vim-{number}")
            except VimNotFound:
                continue
            assert gone.generation == 2
            done += 1
        return done

    assert sum(at_once(migrated_url, deregisters, deregisters, deregisters)) == 15


def test_purges_at_once_count_each_row_once(store: VimStore, migrated_url: str) -> None:
    for number in range(30):
        vim = registered(store, f"vim-{number}")
        store.record_statuses([Report(vim.id, f"{vim.id}-a1", status, None, "h", "") for status in STATUSES * 10])
        store.deregister(vim.id)
        store.record_clean(vim.id)
    purged = at_once(migrated_url, *[lambda mine: mine.purge(history_days=1, purge_after_s=-1)] * 3)
    assert (sum(one.vims for one in purged), sum(one.changes for one in purged)) == (30, 600)


@servers_only
def test_a_transaction_that_lost_to_another_is_run_again(store: VimStore, migrated_url: str) -> None:
    for vim_id in ("a", "b"):
        registered(store, vim_id)
    barrier = Barrier(2)
    runs: list[str] = []

    def crosswise(first: str, second: str) -> Callable[[VimStore], None]:
        def both(connection: Connection) -> None:
            runs.append(first)
            connection.execute(update(VIMS).where(VIMS.c.id == first).values(reason=first))
            if len(runs) <= 2:
                barrier.wait(30)
            connection.execute(update(VIMS).where(VIMS.c.id == second).values(reason=first))

        def work(mine: VimStore) -> None:
            write(mine._engine, both)

        return work

    at_once(migrated_url, crosswise("a", "b"), crosswise("b", "a"))
    assert len(runs) == 3
    assert store.get("a").reason == store.get("b").reason == runs[2]
