"""Fixtures: every kind of database that vimmon knows, empty or with its tables; and a VIM to put in."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete

from tests.support.services import fresh_mariadb_database, fresh_postgres_database, mariadb_missing, postgres_missing
from tests.support.strict import require
from vimmon.registry.database import open_engine, upgrade
from vimmon.registry.models import STATUS_CHANGES, VIMS
from vimmon.registry.store import VimStore
from vimmon.vim import Vim, VimType

KINDS = ("sqlite", "postgresql", "mariadb")
servers_only = pytest.mark.parametrize("database_kind", ["postgresql", "mariadb"], indirect=True)
mariadb_only = pytest.mark.parametrize("database_kind", ["mariadb"], indirect=True)


class Databases:
    """Makes databases; those with tables once for each kind."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._engines: dict[str, Engine] = {}

    @contextmanager
    def fresh(self, kind: str) -> Iterator[str]:
        """The URL of a new and empty database."""
        missing = {"postgresql": postgres_missing, "mariadb": mariadb_missing}.get(kind, lambda: None)()
        require(missing)
        if kind == "sqlite":
            yield f"sqlite:///{self._folder / os.urandom(6).hex() / 'vimmon.sqlite'}"
        else:
            with fresh_postgres_database() if kind == "postgresql" else fresh_mariadb_database() as url:
                yield url

    def with_tables(self, kind: str) -> Engine:
        """A database with vimmon's tables, the same in the whole session."""
        if kind not in self._engines:
            engine = open_engine(self._stack.enter_context(self.fresh(kind)))
            self._stack.callback(engine.dispose)
            upgrade(engine)
            self._engines[kind] = engine
        return self._engines[kind]


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    with ExitStack() as stack:
        yield Databases(tmp_path_factory.mktemp("databases"), stack)


@pytest.fixture(params=KINDS)
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database_url(database_kind: str, databases: Databases) -> Iterator[str]:
    """A new database of each kind, without tables."""
    with databases.fresh(database_kind) as url:
        yield url


@pytest.fixture
def engine(database_kind: str, databases: Databases) -> Engine:
    """A database of each kind, with empty tables."""
    engine = databases.with_tables(database_kind)
    with engine.begin() as connection:
        connection.execute(delete(STATUS_CHANGES))
        connection.execute(delete(VIMS))
    return engine


@pytest.fixture
def migrated_url(engine: Engine) -> str:
    """The URL of `engine`, for whoever needs an engine of its own."""
    return engine.url.render_as_string(hide_password=False)


@pytest.fixture
def store(engine: Engine) -> VimStore:
    return VimStore(engine)


def registered(store: VimStore, vim_id: str = "vim-1", *, name: str | None = None, action_id: str | None = None) -> Vim:
    """A new VIM whose name is like its id, and its action `<id>-a1`."""
    return store.register(
        vim_id=vim_id,
        name=name or f"name of {vim_id}",
        vim_type=VimType.OPENSTACK,
        auth_url="https://keystone.example.org:5000/v3",
        probe={"kind": "http", "preset": "keystone"},
        action_id=action_id or f"{vim_id}-a1",
    )
