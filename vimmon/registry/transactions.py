"""Runs work in transactions, and says what an error of the database means: it is away, its tables are missing, two met.

A transaction that lost to another (deadlock, serialization) is run again, and so is one whose connection turns out to
have ended while nobody used it; every other trouble goes to the caller.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from vimmon.errors import DatabaseUnreachable, SchemaOutdated
from vimmon.registry.kept import kept
from vimmon.registry.models import utc_now

READ_ONLY = "vimmon_read_only"  # execution option: on SQLite, do not take the write lock
ATTEMPTS = 5
T = TypeVar("T")

# PostgreSQL: SQLSTATE, or its class of two characters. Connection, login, resources, operator, system;
# rolled back for another; lock not available, no right, read-only, idle for too long.
POSTGRES_AWAY = ("08", "28", "53", "57", "58", "40", "55P03", "42501", "25006", "25P03")
POSTGRES_LOST = ("40001", "40P01")
POSTGRES_NO_TABLE = ("42P01", "42703")

# MariaDB and MySQL: connecting, login and rights, too many, shutdown, disk, read-only, lock wait, deadlock, killed.
MYSQL_AWAY = frozenset(
    {0, 1021, 1040, 1042, 1043, 1044, 1045, 1049, 1053, 1114, 1129, 1130, 1142, 1143, 1158, 1159, 1160, 1161}
    | {1203, 1205, 1213, 1226, 1290, 1317, 1696, 1698, 1792, 1836, 1927, 1969, 3024, 4031}
    | set(range(2000, 2100))
)
MYSQL_LOST = frozenset({1213})
MYSQL_NO_TABLE = frozenset({1146, 1054})

SQLITE_AWAY = frozenset(
    {
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
SQLITE_NO_TABLE = ("no such table", "no such column", "has no column named")


def read(engine: Engine, work: Callable[[Connection], T]) -> T:
    """What `work` finds. It may run twice. Raises DatabaseUnreachable, SchemaOutdated."""
    return _run(engine, lambda: engine.connect().execution_options(**{READ_ONLY: True}), work)


def write(engine: Engine, work: Callable[[Connection], T]) -> T:
    """What `work` returns, committed; nothing of it when it raises. It may run several times.

    Raises DatabaseUnreachable (then nobody knows whether it was committed), SchemaOutdated.
    """
    return _run(engine, engine.begin, work)


def write_at_once(engine: Engine, work: Callable[[Connection], T]) -> T:
    """The same for one statement, which commits by itself, and does no harm when it is carried out twice."""
    return _run(engine, lambda: kept(engine), work)


def _run(
    engine: Engine, connected: Callable[[], AbstractContextManager[Connection]], work: Callable[[Connection], T]
) -> T:
    with reaching(engine):
        for attempt in range(ATTEMPTS - 1):
            try:
                with connected() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not (lost_to_another(error) or (attempt == 0 and _was_gone(error))):
                    raise
        with connected() as connection:
            return work(connection)


def ask(connection: Connection, words: str, parameters: Any) -> list[Sequence[Any]]:
    """The rows that a statement finds, by the driver itself, in the connection's transaction: to make a result of them
    costs SQLAlchemy more than the statement. Raises its errors all the same."""
    return list(drive(connection, words, parameters, found=lambda cursor: cursor.fetchall()))


def tell(connection: Connection, words: str, many: Sequence[Any]) -> int:
    """The same for a statement that is run with each of `many`: how many rows it wrote."""
    return int(drive(connection, words, many, many=True, found=lambda cursor: cursor.rowcount))


def begin(connection: Connection, words: str) -> None:
    """The same for a statement that begins a transaction, and finds nothing."""
    drive(connection, words, (), found=bool)


def drive(
    connection: Connection, words: str, parameters: Any, *, many: bool = False, found: Callable[[Any], Any]
) -> Any:
    """What is `found` in a cursor of the driver's, once it has run the statement."""
    cursor = connection.connection.cursor()
    try:
        (cursor.executemany if many else cursor.execute)(words, parameters)
        return found(cursor)
    except connection.dialect.loaded_dbapi.Error as error:
        dialect, base = connection.dialect, connection.dialect.loaded_dbapi.Error
        gone = dialect.is_disconnect(error, connection.connection, cursor)
        if gone:
            connection.invalidate(error)
            connection.engine.dispose()  # what else was kept is gone as well
        raise DBAPIError.instance(words, None, error, base, connection_invalidated=gone, dialect=dialect) from error
    finally:
        cursor.close()


def _was_gone(error: DBAPIError) -> bool:
    """Whether a statement found its connection dead: nothing was committed, and the next connection is a new one. An
    error that names no statement is one of connecting, or of committing."""
    return error.connection_invalidated and error.statement is not None


def clock(connection: Connection) -> datetime:
    """The database's time. Asked after the locks were taken, it does not run backwards from one writer to the next."""
    return connection.execute(select(utc_now())).scalar_one()


@contextmanager
def reaching(engine: Engine) -> Iterator[None]:
    """Turns the errors that mean "not there, or not now" into DatabaseUnreachable, and those of missing tables into
    SchemaOutdated; neither shows a password. Every other error passes."""
    try:
        yield
    except PoolExhausted:
        raise DatabaseUnreachable(f"{place(engine.url)}: all of this process's connections are in use") from None
    except DBAPIError as error:
        if is_away(error):
            raise DatabaseUnreachable(f"{place(engine.url)}: {cause(engine.url, error.orig)}") from None
        if misses_table(error):
            raise SchemaOutdated(f"{place(engine.url)}: {cause(engine.url, error.orig)}") from None
        raise


def place(url: URL) -> str:
    """The database as it may be shown: without user, password and options."""
    kind = url.get_backend_name()
    if kind == "sqlite":
        return f"the database {url.database}"
    host = f"[{url.host}]" if url.host and ":" in url.host else url.host or "localhost"
    return f"the database {kind}://{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def cause(url: URL, error: BaseException | None) -> str:
    """What the driver says, in one line, without the password even if it repeats it."""
    arguments = error.args if error else ()
    said = str(arguments[1] if len(arguments) > 1 and isinstance(arguments[0], int) else error)
    line = " ".join(said.split())
    return line.replace(url.password, "***") if url.password else line


def is_away(error: DBAPIError) -> bool:
    """Whether the error is not the statement's: every other would fail too, or this one will succeed later."""
    if error.connection_invalidated:
        return True
    match error.orig:
        case sqlite3.Error() as orig:
            return (_sqlite_code(orig) or sqlite3.SQLITE_ERROR) & 0xFF in SQLITE_AWAY
        case orig if (code := _mysql_code(orig)) is not None:
            return code in MYSQL_AWAY
        case orig if sqlstate := _sqlstate(orig):
            return sqlstate.startswith(POSTGRES_AWAY)
    return isinstance(error, InterfaceError | OperationalError)


def lost_to_another(error: DBAPIError) -> bool:
    """Whether the transaction was rolled back in favour of another: run again, it may succeed."""
    return _mysql_code(error.orig) in MYSQL_LOST or (_sqlstate(error.orig) or "") in POSTGRES_LOST


def misses_table(error: DBAPIError) -> bool:
    """Whether a table or column is missing."""
    if isinstance(error.orig, sqlite3.Error):
        return any(text in str(error.orig) for text in SQLITE_NO_TABLE)
    return _mysql_code(error.orig) in MYSQL_NO_TABLE or (_sqlstate(error.orig) or "") in POSTGRES_NO_TABLE


def _sqlite_code(error: sqlite3.Error) -> int | None:
    return getattr(error, "sqlite_errorcode", None)  # only those that SQLite itself raised have one


def _mysql_code(error: BaseException | None) -> int | None:
    first = error.args[0] if error is not None and error.args else None
    return first if isinstance(first, int) else None


def _sqlstate(error: BaseException | None) -> str | None:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)  # psycopg's name, psycopg2's name
