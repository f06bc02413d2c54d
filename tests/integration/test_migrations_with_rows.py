"""A database that an earlier vimmon filled: each revision leads to today's tables, with all that was in it."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, MetaData, Table, select, text

from tests.integration.databases import registered
from vimmon.errors import NameTaken
from vimmon.registry.database import alembic_config, check_schema, open_engine, upgrade
from vimmon.registry.schema import known_revisions
from vimmon.registry.store import VimStore
from vimmon.vim import VimStatus

EARLIER = known_revisions()[:-1]
MOMENT = "2026-03-04 05:06:07.890123"
LIVING = {
    "id": "11111111-1111-1111-1111-111111111111",
    "name": "tōkyō",
    "live_name": "tōkyō",
    "type": "openstack",
    "auth_url": "https://keystone.example.org:5000/v3",
    "probe": '{"kind": "http", "preset": "keystone"}',
    "status": "REACHABLE",
    "reason": "HTTP 300 in 31 ms",
    "status_seq": 12,
    "holder": "mistral-1:7:abc:1",
    "action_id": "a-7",
    "generation": 2**40,
    "execution_id": "a-7",
}
DELETED = LIVING | {
    "id": "22222222-2222-2222-2222-222222222222",
    "live_name": None,
    "status": "UNKNOWN",
    "reason": None,
    "holder": None,
    "action_id": None,
    "execution_id": None,
    "deleted_at": MOMENT,
    "cleaned_at": MOMENT,
}
CHANGE = {
    "vim_id": LIVING["id"],
    "at": MOMENT,
    "old": "PENDING",
    "new": "REACHABLE",
    "reason": None,
    "generation": 7,
    "seq": 12,
    "action_id": "a-7",
}
STARTS = {"0002": {"starts": 3, "awaited_since": MOMENT}}  # what a revision has beside that


def insert(connection: Connection, table: str, row: dict[str, Any]) -> None:
    """By hand: today's models know columns that the tables do not have yet."""
    names = ", ".join(row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in row)})"), row)


@pytest.fixture(params=EARLIER)
def filled(request: pytest.FixtureRequest, database_url: str) -> Iterator[Engine]:
    """At an earlier revision, with a VIM, one that was de-registered, a change, and the installation's id."""
    engine = open_engine(database_url)
    more = {name: value for revision, row in STARTS.items() if revision <= request.param for name, value in row.items()}
    times = {"status_since": MOMENT, "created_at": MOMENT, "updated_at": MOMENT}
    with engine.connect() as connection:
        command.upgrade(alembic_config(connection), request.param)
        for row in (LIVING, DELETED):
            insert(connection, "vims", row | times | more)
        insert(connection, "status_changes", CHANGE)
        connection.commit()
    yield engine
    engine.dispose()


def rows(engine: Engine, name: str) -> list[dict[str, Any]]:
    """All that is in the table, in the columns that it has now."""
    table = Table(name, MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(select(table).order_by(*table.primary_key))]


def test_an_upgrade_keeps_every_value_of_every_row(filled: Engine) -> None:
    before = {name: rows(filled, name) for name in ("vims", "status_changes", "installation")}
    upgrade(filled)
    check_schema(filled)
    for name, old in before.items():
        now = rows(filled, name)
        assert [{column: row[column] for column in old[0]} for row in now] == old
        assert len(old) == (2 if name == "vims" else 1)


def test_what_is_there_after_an_upgrade_is_what_the_models_say(filled: Engine) -> None:
    upgrade(filled)
    with filled.connect() as connection:
        command.check(alembic_config(connection))


def test_today_s_vimmon_goes_on_with_it(filled: Engine) -> None:
    """Lists it, refuses its name a second time, takes new ones, and gives the changes back."""
    upgrade(filled)
    store = VimStore(filled)
    (vim,) = store.list()
    assert (vim.name, vim.status, vim.generation, vim.action_id) == ("tōkyō", VimStatus.REACHABLE, 2**40, "a-7")
    assert vim.created_at.isoformat() == "2026-03-04T05:06:07.890123+00:00"
    with pytest.raises(NameTaken, match="tōkyō"):
        registered(store, str(uuid.uuid4()), name="tōkyō")
    registered(store, "new")
    assert {one.name for one in store.list()} == {"tōkyō", "name of new"}
