"""How many VIMs are in which status, and which are not reachable: on every kind of database."""

import pytest
from sqlalchemy import Engine, update

from tests.integration.databases import registered
from tests.integration.test_costs import statements
from vimmon.registry import census as module
from vimmon.registry.census import CensusTaker
from vimmon.registry.models import VIMS
from vimmon.registry.store import VimStore
from vimmon.vim import VimStatus

UP, DOWN, UNKNOWN = VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN


def become(engine: Engine, **statuses: VimStatus) -> None:
    with engine.begin() as connection:
        for vim_id, status in statuses.items():
            connection.execute(update(VIMS).where(VIMS.c.id == vim_id).values(status=status))


def test_the_living_are_counted_by_status_and_named(engine: Engine, store: VimStore) -> None:
    for vim_id in "abcdef":
        registered(store, vim_id)
    become(engine, a=UP, b=UP, c=DOWN, d=UNKNOWN, f=DOWN)
    store.deregister("f")
    found = CensusTaker(engine).take(["a", "f", "nobody"])
    assert found.by_status == {"PENDING": 1, "REACHABLE": 2, "UNREACHABLE": 1, "UNKNOWN": 1}
    assert found.names == {"a": "name of a"}
    assert {(one.vim_id, one.name, str(one.status)) for one in found.absent} == {
        ("c", "name of c", "UNREACHABLE"),
        ("d", "name of d", "UNKNOWN"),
        ("e", "name of e", "PENDING"),
    }
    assert all(0 <= one.for_s < 60 for one in found.absent)


def test_of_many_that_are_not_reachable_the_unreachable_are_listed_first_and_those_for_longest(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, store: VimStore
) -> None:
    monkeypatch.setattr(module, "LISTED_MAX", 3)
    for vim_id in "abcdef":
        registered(store, vim_id)
    become(engine, a=UNKNOWN, d=DOWN, e=DOWN, f=UP)
    listed = CensusTaker(engine).take().absent
    assert [one.vim_id for one in listed] == ["d", "e", "a"]
    assert listed[0].for_s >= listed[1].for_s


def test_however_many_there_are_it_takes_as_many_statements(engine: Engine, store: VimStore) -> None:
    registered(store, "a")
    taker = CensusTaker(engine)
    taker.take(["a"])
    with statements(engine) as seen:
        taker.take(["a"])
    for number in range(30):
        registered(store, f"v{number}")
    with statements(engine) as more_seen:
        taker.take([f"v{number}" for number in range(30)])
    assert [one[:20] for one in seen] == [one[:20] for one in more_seen]
    assert len(seen) <= 5
