"""How a database is opened, and what is said when that fails or the database goes away."""

import re
import socket
import sqlite3
import traceback
from collections.abc import Callable
from typing import Any, cast

import pytest
from sqlalchemy import Connection, Engine, Executable, make_url, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from tests.integration.databases import registered, servers_only
from vimmon.errors import DatabaseUnreachable, SettingsError, VimmonError
from vimmon.registry import database, kept
from vimmon.registry.database import check_schema, open_engine, upgrade
from vimmon.registry.models import VIMS, utc_now
from vimmon.registry.store import Report, VimStore
from vimmon.registry.transactions import reaching, read, write, write_at_once
from vimmon.vim import VimStatus

SECRET = "s3cret"


def shown(error: VimmonError) -> str:
    """All that a log could show of an error."""
    return "".join(traceback.format_exception(error)) + error.remedy


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        f"postgresql://u:{SECRET}@[::1/x",
        f"postgresql://u:{SECRET}/@host:port/x",
        f"oracle://u:{SECRET}@h/x",
        f"postgresql+asyncpg://u:{SECRET}@h/x",
        f"mysql+aiomysql://u:{SECRET}@h/x",
        f"postgresql://u:{SECRET}@h",
        f"mysql://u:{SECRET}@h/",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:////proc/nowhere/x.sqlite",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="VIMMON_DATABASE_URL") as caught:
        open_engine(url)
    assert SECRET not in shown(caught.value)
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vimmon.registry.database.find_spec", lambda module: None)
    with pytest.raises(SettingsError, match="pymysql") as caught:
        open_engine("mysql://u@h/x")
    assert caught.value.remedy == "pip install pymysql"


@pytest.mark.parametrize(
    ("scheme", "driver"),
    [
        ("postgresql", "postgresql+psycopg"),
        ("postgresql+psycopg2", "postgresql+psycopg2"),
        ("mysql", "mysql+pymysql"),
        ("mariadb", "mysql+pymysql"),
        ("mariadb+pymysql", "mysql+pymysql"),
    ],
)
def test_a_url_without_a_driver_gets_one(scheme: str, driver: str) -> None:
    assert open_engine(f"{scheme}://u:p@h/x").url.drivername == driver


@pytest.mark.parametrize(
    ("database_kind", "scheme"),
    [
        ("postgresql", "postgresql"),
        ("postgresql", "postgresql+psycopg2"),
        ("mariadb", "mysql"),
        ("mariadb", "mariadb"),
    ],
    indirect=["database_kind"],
)
def test_every_form_of_url_works(scheme: str, migrated_url: str) -> None:
    engine = open_engine(make_url(migrated_url).set(drivername=scheme).render_as_string(hide_password=False))
    check_schema(engine)
    store = VimStore(engine)
    vim = registered(store)
    store.record_statuses([Report(vim.id, "vim-1-a1", status, None, "h", "") for status in list(VimStatus)[1:]])
    assert len(store.history(vim.id)) == 3
    engine.dispose()


@servers_only
def test_statements_see_what_was_committed_before_them(engine: Engine) -> None:
    store = VimStore(engine)
    with engine.connect() as connection:
        assert connection.execute(select(VIMS)).all() == []
        registered(store)
        assert len(connection.execute(select(VIMS)).all()) == 1


def test_the_clock_goes_on_within_a_transaction(engine: Engine) -> None:
    with engine.connect() as connection:
        first = connection.execute(select(utc_now())).scalar_one()
        later = (connection.execute(select(utc_now())).scalar_one() for _ in range(10_000))
        assert next(moment for moment in later if moment != first) > first


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "mysql"])
def test_a_database_that_does_not_answer_is_named_without_its_password(scheme: str) -> None:
    engine = open_engine(f"{scheme}://u:{SECRET}@127.0.0.1:{closed_port()}/x")
    calls: list[Callable[[], object]] = [
        lambda: check_schema(engine),
        lambda: upgrade(engine),
        VimStore(engine).list,
        lambda: VimStore(engine).record_statuses([Report("v", "a", VimStatus.REACHABLE, 1, "h", "")]),
    ]
    for call in calls:
        with pytest.raises(DatabaseUnreachable, match=r"127\.0\.0\.1:\d+/x: .*refused") as caught:
            call()
        assert SECRET not in shown(caught.value)


def test_a_driver_that_repeats_the_password_is_not_believed_to_be_discreet() -> None:
    engine = open_engine(f"mysql://u:{SECRET}@h/x")
    with pytest.raises(DatabaseUnreachable) as caught, reaching(engine):
        raise DBAPIError.instance(
            "SELECT", {}, sqlite3.Error(f"no {SECRET}"), sqlite3.Error, connection_invalidated=True
        )
    assert SECRET not in shown(caught.value)
    assert "no ***" in str(caught.value)


@pytest.mark.parametrize("option", ["postgresql://127.0.0.1/x?nonsense=1", "mysql://h/x?nonsense=1"])
def test_an_option_that_no_driver_knows_is_a_wrong_setting(option: str) -> None:
    with pytest.raises(SettingsError, match="nonsense"):
        VimStore(open_engine(option)).list()


@servers_only
def test_no_such_database_is_unreachable(migrated_url: str) -> None:
    url = make_url(migrated_url).set(database="vimmon_no_such_database").render_as_string(hide_password=False)
    with pytest.raises(DatabaseUnreachable, match="no_such_database"):
        VimStore(open_engine(url)).list()


KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}
WHO = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT connection_id()"}


class Killer:
    """Work that has its own connection killed, as often as it is told, and then goes on, or does not."""

    def __init__(self, url: str, *, times: int, then: Executable | None) -> None:
        self._engine = open_engine(url)
        self._times = times
        self._then = then
        self.runs = 0

    def __call__(self, connection: Connection) -> None:
        self.runs += 1
        kind = connection.dialect.name
        victim = connection.execute(text(WHO[kind])).scalar_one()
        if self.runs <= self._times:
            with self._engine.begin() as other:
                other.execute(text(KILL[kind].format(victim)))
        if self._then is not None:
            connection.execute(self._then)
        self._engine.dispose()


@servers_only
@pytest.mark.parametrize("run", [read, write, write_at_once])
def test_work_whose_connection_ends_before_it_is_committed_is_run_once_more(
    engine: Engine, migrated_url: str, run: Callable[[Engine, Callable[[Connection], None]], None]
) -> None:
    once, always = (Killer(migrated_url, times=times, then=select(VIMS)) for times in (1, 9))
    run(engine, once)
    assert once.runs == 2
    with pytest.raises(DatabaseUnreachable):
        run(engine, always)
    assert always.runs == 2
    assert VimStore(engine).list() == []


@servers_only
def test_the_connection_of_statements_that_commit_by_themselves_is_kept_unless_something_goes_wrong(
    migrated_url: str,
) -> None:
    mine = open_engine(migrated_url)
    pool = cast(QueuePool, mine.pool)
    whoami = text(WHO[mine.dialect.name])
    first, second = (write_at_once(mine, lambda connection: connection.execute(whoami).scalar_one()) for _ in range(2))
    assert first == second
    assert pool.checkedout() == 1
    with pytest.raises(ZeroDivisionError):
        write_at_once(mine, lambda _: 1 // 0)
    assert pool.checkedout() == 0
    with mine.connect() as connection:
        assert connection.execute(whoami).scalar_one() != first  # nobody else has it, set as it was
    write_at_once(mine, lambda connection: connection.execute(whoami))
    (connection,) = kept._free[mine]
    driver: Any = connection.connection.driver_connection
    mine.dispose()
    assert connection.closed
    assert driver.closed if mine.dialect.name == "postgresql" else not driver.open


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_stores_of_one_engine_keep_one_connection_together(engine: Engine) -> None:
    registered(VimStore(engine))
    report = Report("vim-1", "vim-1-a1", VimStatus.REACHABLE, None, "h", "")
    before = cast(QueuePool, engine.pool).checkedout()
    for _ in range(3):
        VimStore(engine).record_statuses([report])
    assert cast(QueuePool, engine.pool).checkedout() <= before + 1


@servers_only
def test_work_whose_connection_ends_at_its_commit_is_trouble_and_is_not_repeated(
    engine: Engine, migrated_url: str
) -> None:
    work = Killer(migrated_url, times=1, then=None)
    with pytest.raises(DatabaseUnreachable):
        write(engine, work)
    assert work.runs == 1


@servers_only
def test_a_connection_that_ended_while_idle_is_replaced(engine: Engine, migrated_url: str) -> None:
    kind = engine.dialect.name
    mine, killer = open_engine(migrated_url), open_engine(migrated_url)
    store = VimStore(mine)
    report = Report("vim-1", "vim-1-a1", VimStatus.REACHABLE, None, "h", "")
    works: list[Callable[[], object]] = [
        lambda: registered(store),
        store.list,
        lambda: store.record_statuses([report]),
        lambda: store.record_statuses([report, report]),
        lambda: store.rename("vim-1", "another"),
    ]
    for work in works:
        with mine.connect() as connection:
            victim = connection.execute(text(WHO[kind])).scalar_one()
        with killer.begin() as other:
            other.execute(text(KILL[kind].format(victim)))
        work()
    assert (store.get("another").status, len(store.history("vim-1"))) == (VimStatus.REACHABLE, 1)
    mine.dispose()
    killer.dispose()


@servers_only
def test_when_all_connections_ended_while_idle_a_batch_is_written_all_the_same(
    engine: Engine, migrated_url: str
) -> None:
    kind = engine.dialect.name
    mine, killer = open_engine(migrated_url), open_engine(migrated_url)
    registered(store := VimStore(mine))
    with mine.connect() as one, mine.connect() as other:
        victims = [connection.execute(text(WHO[kind])).scalar_one() for connection in (one, other)]
    with killer.begin() as connection:
        for victim in victims:
            connection.execute(text(KILL[kind].format(victim)))
    store.record_statuses([Report("vim-1", "vim-1-a1", VimStatus.REACHABLE, None, "h", "")])
    assert store.get("vim-1").status == VimStatus.REACHABLE
    mine.dispose()
    killer.dispose()


def test_no_free_connection_is_unreachable(migrated_url: str) -> None:
    engine = open_engine(migrated_url)
    engine.pool._timeout = 0.01  # type: ignore[attr-defined]  # 30 s otherwise
    held = [engine.connect() for _ in range(15)]
    with pytest.raises(DatabaseUnreachable, match="in use"):
        VimStore(engine).list()
    for connection in held:
        connection.close()
    engine.dispose()


@servers_only
def test_the_locks_of_a_paused_process_end_before_others_have_waited_in_vain(
    store: VimStore, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.IDLE_TRANSACTION_S < database.LOCK_TIMEOUT_S
    vim = registered(store)
    for kind, statements in database.ON_CONNECT.items():
        shorter = tuple(
            re.sub(rf"(idle\w*_timeout = '?){database.IDLE_TRANSACTION_S}\b", r"\g<1>1", one) for one in statements
        )
        monkeypatch.setitem(database.ON_CONNECT, kind, shorter)
    paused, other = open_engine(migrated_url), open_engine(migrated_url)
    try:
        with paused.connect() as locking:
            locking.execute(update(VIMS).values(name="not committed"))
            assert VimStore(other).rename(vim.id, "renamed").name == "renamed"
            with pytest.raises(DBAPIError):
                locking.commit()
    finally:
        paused.dispose()
        other.dispose()


def test_a_wrong_statement_is_not_taken_for_an_absent_database(engine: Engine) -> None:
    with pytest.raises(DBAPIError):
        read(engine, lambda connection: connection.execute(text("SELEKT 1")))
