"""What the status page reads of the database, on every kind of it: the worst first, a fixed number of statements."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine, event, insert, update

from tests.integration.databases import registered
from tests.integration.test_costs import statements
from tests.support.fleet import fill
from vimmon.registry import showing as module
from vimmon.registry.models import STATUS_CHANGES, VIMS
from vimmon.registry.showing import Showcase
from vimmon.registry.store import VimStore
from vimmon.registry.values import SHOWN_MAX, Showing, Wish
from vimmon.vim import VimStatus

UP, DOWN, UNKNOWN, PENDING = VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN, VimStatus.PENDING
DAY = timedelta(days=1)


def become(engine: Engine, vim_id: str, status: str, ago_s: float = 0, name: str | None = None) -> None:
    values = {"status": status, "status_since": datetime.now(UTC) - timedelta(seconds=ago_s)}
    values |= {"name": name, "live_name": name} if name else {}
    with engine.begin() as connection:
        connection.execute(update(VIMS).where(VIMS.c.id == vim_id).values(**values))


def changed(engine: Engine, vim_id: str, *ages_s: float) -> None:
    rows = [
        {
            "vim_id": vim_id,
            "at": datetime.now(UTC) - timedelta(seconds=age_s),
            "old": UP,
            "new": DOWN,
            "generation": 1,
            "seq": 1,
            "action_id": "a",
        }
        for age_s in ages_s
    ]
    with engine.begin() as connection:
        connection.execute(insert(STATUS_CHANGES), rows)


def show(engine: Engine, **wish: object) -> Showing:
    return Showcase(engine).show(Wish(**wish), day=DAY)  # type: ignore[arg-type]


def names(found: Showing) -> list[str]:
    return [vim.name for vim in found.vims]


def test_what_is_not_reachable_comes_first_the_latest_at_the_top_and_the_rest_by_name(
    engine: Engine, store: VimStore
) -> None:
    for vim_id in "abcdefgh":
        registered(store, vim_id, name=f"n{vim_id}")
    for vim_id, status, ago_s in (("a", DOWN, 90), ("b", UP, 5), ("c", UP, 70), ("d", DOWN, 30), ("e", UNKNOWN, 1)):
        become(engine, vim_id, status, ago_s)
    become(engine, "f", "ODD")
    store.deregister("h")
    found = show(engine)
    assert names(found) == ["nd", "na", "nf", "ne", "ng", "nb", "nc"]
    assert found.by_status == {DOWN: 2, UNKNOWN: 2, PENDING: 1, UP: 2}, "what only another version knows is UNKNOWN"
    assert (found.found, found.page, found.pages) == (7, 1, 1)
    assert abs(found.now - datetime.now(UTC)) < timedelta(seconds=60)


def test_some_are_found_by_status_by_a_part_of_the_name_or_the_beginning_of_the_id(
    engine: Engine, store: VimStore
) -> None:
    for vim_id, name in (("a1", "Tokyo"), ("a2", "Kyoto 100%"), ("b1", "o_k\\o")):
        registered(store, vim_id, name=name)
    become(engine, "a2", DOWN)
    become(engine, "b1", "ODD")
    assert names(show(engine, text="KYO")) == ["Kyoto 100%", "Tokyo"]
    assert names(show(engine, text="a1")) == ["Tokyo"]
    assert names(show(engine, text="1")) == ["Kyoto 100%"], "not in the middle of an id"
    for special, wanted in (("%", "Kyoto 100%"), ("_", "o_k\\o"), ("\\", "o_k\\o")):
        assert names(show(engine, text=special)) == [wanted]
    assert names(show(engine, text="'; DROP TABLE vims; --")) == []
    assert names(show(engine, status=DOWN)) == ["Kyoto 100%"]
    assert names(show(engine, status=UNKNOWN)) == ["o_k\\o"]
    found = show(engine, status=DOWN, text="tok")
    assert (found.vims, found.found, found.by_status[DOWN]) == ([], 0, 1), "the counts are those of all"


def test_many_are_shown_a_page_at_a_time_each_once_and_the_last_page_for_any_beyond(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, redis: Redis
) -> None:
    monkeypatch.setattr(module, "SHOWN_MAX", 7)
    fill(engine, redis, 20, absent=[DOWN, DOWN, UNKNOWN])
    pages = [show(engine, page=page) for page in (1, 2, 3)]
    assert [len(page.vims) for page in pages] == [7, 7, 6]
    everybody = [vim.id for page in pages for vim in page.vims]
    assert len(set(everybody)) == 20
    assert [vim.status for vim in pages[0].vims[:4]] == [DOWN, DOWN, UNKNOWN, UP]
    assert {page.pages for page in pages} == {3}
    assert show(engine, page=99).page == 3
    assert show(engine, page=0).page == 1
    assert show(engine, text="nobody", page=2).page == 1


def test_the_changes_of_the_last_day_of_those_that_are_shown_are_read_in_their_order(
    engine: Engine, store: VimStore
) -> None:
    for vim_id in "abc":
        registered(store, vim_id)
    changed(engine, "a", 90_000, 80_000)
    changed(engine, "b", 70_000)
    changed(engine, "a", 60_000)
    changed(engine, "gone", 50_000)
    found = show(engine)
    ages = {
        vim_id: [round((found.now.replace(tzinfo=None) - move.at).total_seconds(), -3) for move in moves]
        for vim_id, moves in found.moves.items()
    }
    assert ages == {"a": [80_000, 60_000], "b": [70_000]}
    assert found.moves["a"][0].new is DOWN
    assert found.known_from == found.now - DAY
    assert set(show(engine, text="name of b").moves) == {"b"}


def test_of_a_storm_of_changes_the_newest_are_read_and_from_when_on_they_are_complete_is_told(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, store: VimStore
) -> None:
    monkeypatch.setattr(module, "CHANGES_MAX", 3)
    registered(store, "a")
    changed(engine, "a", 5000, 4000, 3000, 2000, 1000)
    found = show(engine)
    assert len(found.moves["a"]) == 3
    assert round((found.now - found.known_from).total_seconds(), -2) == 3000
    monkeypatch.setattr(module, "CHANGES_MAX", 5)
    found = show(engine)
    assert len(found.moves["a"]) == 5
    assert found.known_from == found.now - DAY


def test_a_change_that_was_entered_late_is_found_all_the_same(engine: Engine, store: VimStore) -> None:
    registered(store, "a")
    changed(engine, "a", 86_380, 86_420)  # the one of today has the lower number
    assert len(show(engine).moves["a"]) == 1


def test_however_many_there_are_it_takes_as_many_statements(engine: Engine, redis: Redis, store: VimStore) -> None:
    registered(store, "a")
    changed(engine, "a", 10)
    showcase = Showcase(engine)
    showcase.show(Wish(), day=DAY)
    with statements(engine) as seen:
        showcase.show(Wish(), day=DAY)
    fill(engine, redis, 700, absent=[DOWN] * 40, changed=0.5)
    with statements(engine) as more_seen:
        found = showcase.show(Wish(), day=DAY)
    assert len(found.vims) == SHOWN_MAX
    assert sum(len(moves) for moves in found.moves.values()) > 50
    assert len(seen) == len(more_seen) <= 8


def test_no_part_of_the_history_is_read_but_that_of_the_day_and_by_an_index(engine: Engine, redis: Redis) -> None:
    shown = fill(engine, redis, 600, absent=[DOWN] * 40, changed=1.0)
    for days in range(2, 12):
        changed(engine, shown[days], *[days * 86400.0 + second for second in range(500)])
    asked: list[tuple[str, Any]] = []

    def note(*arguments: Any) -> None:
        if "status_changes" in arguments[2]:
            asked.append((arguments[2], arguments[3]))

    event.listen(engine, "before_cursor_execute", note)
    Showcase(engine).show(Wish(), day=DAY)
    event.remove(engine, "before_cursor_execute", note)
    assert len(asked) == 4
    analyse, explain, whole = {
        "sqlite": ("ANALYZE", "EXPLAIN QUERY PLAN", "SCAN"),
        "postgresql": ("ANALYZE status_changes", "EXPLAIN", "Seq Scan"),
        "mysql": ("ANALYZE TABLE status_changes", "EXPLAIN", "'ALL'"),
    }[engine.dialect.name]
    with engine.begin() as connection:
        connection.exec_driver_sql(analyse)
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
            assert whole not in str(plan), (statement[:300], plan)
