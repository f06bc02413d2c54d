"""Opens the database that a URL names, and brings its tables up to date."""

import sqlite3
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from vimmon.errors import DatabaseUnreachable, SchemaOutdated, SettingsError, repeated
from vimmon.registry.models import METADATA
from vimmon.registry.schema import MIGRATIONS, known_revisions, revision_of
from vimmon.registry.transactions import READ_ONLY, begin, cause, place, reaching

if TYPE_CHECKING:  # it takes long to load, and only an upgrade needs it
    from alembic.config import Config

DRIVERS = {  # what a URL may begin with → what SQLAlchemy is told, and the module that it needs
    "sqlite": ("sqlite+pysqlite", "sqlite3"),
    "sqlite+pysqlite": ("sqlite+pysqlite", "sqlite3"),
    "postgresql": ("postgresql+psycopg", "psycopg"),
    "postgresql+psycopg": ("postgresql+psycopg", "psycopg"),
    "postgresql+psycopg2": ("postgresql+psycopg2", "psycopg2"),
    "mysql": ("mysql+pymysql", "pymysql"),
    "mysql+pymysql": ("mysql+pymysql", "pymysql"),
    "mariadb": ("mysql+pymysql", "pymysql"),
    "mariadb+pymysql": ("mysql+pymysql", "pymysql"),
}
CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_S = 20  # how long to wait for a row, or on SQLite for the database
SILENCE_S = 40  # a server that says nothing for so long is gone
WAL_TRIES = 20
IDLE_TRANSACTION_S = 10  # a paused process must not keep its locks for longer than others wait for them
CONNECT_ARGS: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": LOCK_TIMEOUT_S},
    "postgresql": {"connect_timeout": CONNECT_TIMEOUT_S, "tcp_user_timeout": SILENCE_S * 1000},
    "mysql": {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": SILENCE_S,
        "write_timeout": SILENCE_S,
        "charset": "utf8mb4",
    },
}
ON_CONNECT = {
    "sqlite": ("PRAGMA foreign_keys = ON",),
    "postgresql": (
        f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'",
        f"SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_S}s'",
    ),
    "mysql": (
        f"SET SESSION innodb_lock_wait_timeout = {LOCK_TIMEOUT_S}",
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
        f"/*M!100300 SET SESSION idle_transaction_timeout = {IDLE_TRANSACTION_S} */",  # a comment to MySQL
    ),
}


def open_engine(url: str) -> Engine:
    """The engine of a database. Nothing is connected yet: open it in the process that uses it, after any fork.

    Raises SettingsError for a URL that cannot be read, and for a kind that vimmon does not know.
    """
    parsed = _parse(url)
    kind = parsed.get_backend_name()
    isolation = {} if kind == "sqlite" else {"isolation_level": "READ COMMITTED"}
    engine = create_engine(parsed, connect_args=CONNECT_ARGS[kind], **isolation)

    @event.listens_for(engine, "do_connect")
    def connect(
        dialect: Dialect, record: ConnectionPoolEntry, arguments: list[Any], options: dict[str, Any]
    ) -> DBAPIConnection:
        try:
            return dialect.connect(*arguments, **options)
        except (TypeError, ValueError, dialect.loaded_dbapi.ProgrammingError) as error:
            raise _unreadable(cause(parsed, error)) from None

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.isolation_level = None  # the driver must not begin transactions: the next function does
            use_wal(connection)
        cursor = connection.cursor()
        for statement in ON_CONNECT[kind]:
            cursor.execute(statement)
        cursor.close()
        connection.commit()

    if kind == "sqlite":

        @event.listens_for(engine, "begin")
        def begin_first(connection: Connection) -> None:
            # A writer that began as a reader would fail, not wait, when another writes at the same time.
            reading = connection.get_execution_options().get(READ_ONLY)
            begin(connection, "BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def sqlite_url(file: Path) -> str:
    """The URL of the database in this file, whatever characters its path has."""
    return URL.create("sqlite", database=str(file)).render_as_string()


def upgrade(engine: Engine) -> None:
    """Bring the tables up to date; nothing to do is done. Two at once take turns.

    Raises DatabaseUnreachable; SchemaOutdated for tables of a newer vimmon; SettingsError for a database in which
    somebody else has tables of these names.
    """
    from alembic import command

    with reaching(engine), engine.connect() as connection:
        _take_turn(connection)
        if (found := revision_of(connection)) is None:
            _refuse_strangers(connection)
        else:
            _refuse_newer(connection, found)
        command.upgrade(alembic_config(connection), "head")
        connection.commit()


def check_schema(engine: Engine) -> None:
    """Raises SchemaOutdated unless the tables are those of this vimmon, and DatabaseUnreachable."""
    with reaching(engine), engine.connect().execution_options(**{READ_ONLY: True}) as connection:
        found, head = revision_of(connection), known_revisions()[-1]
        if found == head:
            return
        if found:
            _refuse_newer(connection, found)
        state = f"at revision {found}" if found else "missing"
        raise SchemaOutdated(f"{place(engine.url)}: its tables are {state}; this vimmon needs revision {head}")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise _unreadable("it is not a URL; percent-encode special characters of the password") from None
    if parsed.drivername not in DRIVERS:
        raise _unreadable(f"{repeated(parsed.drivername)!r} is none of {', '.join(DRIVERS)}")
    driver, module = DRIVERS[parsed.drivername]
    if find_spec(module) is None:
        raise SettingsError(
            f"VIMMON_DATABASE_URL: its driver is not installed: {module}", remedy=f"pip install {module}"
        )
    if driver.startswith("sqlite"):
        _make_folder(parsed.database)
    elif not parsed.database:
        raise _unreadable("it names no database")
    return parsed.set(drivername=driver)


def _make_folder(file: str | None) -> None:
    if not file or file.startswith((":memory:", "file:")):
        raise _unreadable("it names no file; other processes must find the same database")
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unreadable(f"the folder {error.filename} cannot be made: {error.strerror}") from None


def use_wal(connection: sqlite3.Connection) -> None:
    """Let readers and a writer go on at the same time.

    SQLite refuses this at once, without its usual waiting, while another process does the same to a new file; so here
    a wait for that one's lock comes between the tries.
    """
    for _ in range(WAL_TRIES - 1):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL")


def _unreadable(problem: str) -> SettingsError:
    return SettingsError(
        f"VIMMON_DATABASE_URL: {problem}",
        remedy="Write it like sqlite:////var/lib/vimmon/vimmon.sqlite, postgresql://user:password@host/vimmon, or"
        " mysql://user:password@host/vimmon",
    )


def alembic_config(connection: Connection) -> "Config":
    """What Alembic needs to know: where the migrations are, and the connection to use."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection}, stdout=sys.stdout)  # not what it was when Alembic was loaded
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _take_turn(connection: Connection) -> None:
    """Wait until no other upgrade runs; the turn ends with the transaction, on MariaDB with the connection."""
    kind = connection.dialect.name
    key = zlib.crc32(f"vimmon upgrade {connection.engine.url.database}".encode())
    if kind == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
    elif kind == "mysql":
        connection.detach()  # MariaDB commits at every CREATE, so no lock of a transaction would do
        if not connection.execute(text(f"SELECT GET_LOCK('vimmon {key}', {LOCK_TIMEOUT_S})")).scalar():
            raise DatabaseUnreachable(f"{place(connection.engine.url)}: another upgrade is running")


def _refuse_strangers(connection: Connection) -> None:
    found = sorted(set(inspect(connection).get_table_names()) & set(METADATA.tables))
    if found:
        raise SettingsError(
            f"{place(connection.engine.url)} has tables that vimmon did not make, or not to the end: "
            + ", ".join(found),
            remedy="Give vimmon a database of its own; after an upgrade that was broken off, drop these tables first",
        )


def _refuse_newer(connection: Connection, found: str) -> None:
    if found not in known_revisions():
        raise SchemaOutdated(
            f"{place(connection.engine.url)}: its tables are of a newer vimmon (revision {found})",
            remedy="Install the newer vimmon here too",
        )
