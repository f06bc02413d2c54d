"""What Redis must say of each VIM, as the databases put it together; and the way through all of them."""

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from tests.integration.bench import Bench, update_vim
from tests.integration.passes import HOLDER
from vimmon.conductor.walk import Page, Walk
from vimmon.lease.model import lease_text, status_text
from vimmon.registry.repair import Repair
from vimmon.vim import Vim, VimStatus

NEW = [f"{number}fffffff-ffff-4fff-8fff-ffffffffffff" for number in ("0", "f", "e", "d")]


@pytest.fixture
def bench(redis: Redis, engine: Engine) -> Bench:
    """On each kind of database."""
    return Bench(redis, engine)


@pytest.fixture
def some(bench: Bench) -> list[Vim]:
    vims = [bench.registered(f"vim-{number}") for number in range(7)]
    for vim in vims:
        bench.ask(update_vim(vim, "UNREACHABLE", seq=12, holder=HOLDER))
    return vims


def expected(bench: Bench) -> dict[str, tuple[str | None, str | None]]:
    rows = Repair(bench.engine).expected(after=None, until=None, most=100)
    return {vim_id: (lease, status) for vim_id, lease, status in rows}


def walked(walk: Walk) -> list[Page]:
    return list(walk.pages())


def test_a_row_expects_what_its_lease_and_its_status_are_in_redis(bench: Bench, some: list[Vim]) -> None:
    found = expected(bench)
    assert found.keys() == {vim.id for vim in some}
    for vim in some:
        lease, status = bench.leases.values([vim.id])[0]
        assert found[vim.id] == (lease_text(1, vim.action_id), status_text(1, 12, VimStatus.UNREACHABLE, HOLDER))
        assert [one.encode() for one in found[vim.id] if one] == [lease, status]


@pytest.mark.parametrize(
    "odd", ["deleted_at = '2026-01-01 00:00:00'", "starts = 1", "status_seq = 0", "holder = NULL", "action_id = NULL"]
)
def test_a_row_that_needs_a_closer_look_says_so(bench: Bench, some: list[Vim], odd: str) -> None:
    with bench.engine.begin() as connection:
        connection.execute(text(f"UPDATE vims SET {odd} WHERE id = :id"), {"id": some[3].id})
    assert [vim_id for vim_id, (lease, status) in expected(bench).items() if not lease or not status] == [some[3].id]


def test_every_vim_is_passed_once_whoever_comes_and_goes(bench: Bench, some: list[Vim]) -> None:
    walk = Walk(bench.leases, Repair(bench.engine), page=2)
    first = walked(walk)
    ids = [row[0] for page in first for row in page.rows]
    assert ids == sorted(vim.id for vim in some)
    assert [page.number for page in first] == list(range(len(first)))
    with bench.engine.begin() as connection:
        connection.execute(text("DELETE FROM vims WHERE id IN (:a, :b)"), {"a": ids[1], "b": ids[-1]})
        for number, vim_id in enumerate(NEW):
            connection.execute(
                text("UPDATE vims SET id = :new WHERE id = :old"), {"new": vim_id, "old": ids[2 + number]}
            )
    now = sorted(set(ids) - set(ids[1:6]) - {ids[-1]} | set(NEW))
    assert [row[0] for page in walked(walk) for row in page.rows] == now
    assert [row[0] for page in walked(walk) for row in page.rows] == now


def test_redis_is_asked_before_the_database_and_of_all_that_were_there(bench: Bench, some: list[Vim]) -> None:
    """Else a report in between would look like one that the database lost."""
    walk = Walk(bench.leases, Repair(bench.engine), page=3)
    for seq in (13, 14):  # the first walk knows nobody yet
        for page in walk.pages():
            said = {vim_id: status for vim_id, (_, status) in page.said.items()}
            assert said.keys() == {row[0] for row in page.rows}
            for vim_id, _, status in page.rows:
                assert said[vim_id] == (status or "").encode()
            for vim in some:  # those of the later pages are read anew, of Redis and of the database
                bench.ask(update_vim(vim, seq=seq, holder=HOLDER))


def test_nobody_is_nobody(bench: Bench) -> None:
    (page,) = walked(Walk(bench.leases, Repair(bench.engine)))
    assert (list(page.rows), page.said) == ([], {})
