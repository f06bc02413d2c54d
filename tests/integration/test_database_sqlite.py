"""SQLite, as several processes use it: readers and a writer at once, and writers one after the other."""

import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, text

from tests.integration.databases import registered
from vimmon.errors import DatabaseUnreachable
from vimmon.registry.database import open_engine, upgrade, use_wal
from vimmon.registry.models import VIMS
from vimmon.registry.store import VimStore
from vimmon.registry.transactions import read, write


def test_sqlites_folder_is_made_and_readers_do_not_stop_writers(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "vimmon.sqlite"
    engine = open_engine(f"sqlite:///{file}")
    upgrade(engine)
    assert stat.S_ISREG(file.stat().st_mode)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    store = VimStore(engine)

    def reading(connection: Connection) -> None:
        assert connection.execute(select(VIMS)).all() == []
        registered(store)
        assert connection.execute(select(VIMS)).all() == []  # as it was when this reader began

    read(engine, reading)
    assert len(store.list()) == 1
    engine.dispose()


def test_wal_is_waited_for_while_another_has_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "vimmon.sqlite"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    said: list[str] = []

    class Patient(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
            said.append(statement)
            if statement == "BEGIN IMMEDIATE":
                other.execute("COMMIT")  # what this statement would wait for
            return super().execute(statement, *parameters)

    connection = sqlite3.connect(file, isolation_level=None, timeout=0.01, factory=Patient)
    use_wal(connection)
    assert "BEGIN IMMEDIATE" in said
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    other.close()


def test_on_sqlite_a_writer_takes_its_lock_before_it_reads(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'vimmon.sqlite'}"
    engine, other = open_engine(url), open_engine(url)
    upgrade(engine)
    event.listen(other, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 50"))

    def writing(connection: Connection) -> None:
        connection.execute(select(VIMS))
        with pytest.raises(DatabaseUnreachable, match="locked"):
            registered(VimStore(other))

    write(engine, writing)
    assert registered(VimStore(other)).id == "vim-1"
    engine.dispose()
    other.dispose()


def test_a_file_that_is_no_database_is_unreachable(tmp_path: Path) -> None:
    file = tmp_path / "vimmon.sqlite"
    file.write_text("This is not a database. " * 100)
    with pytest.raises(DatabaseUnreachable, match="not a database"):
        upgrade(open_engine(f"sqlite:///{file}"))
