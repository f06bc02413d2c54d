"""Finds the services that tests need, and makes databases in them that belong to one test only.

Where they are is said by VIMMON_TEST_POSTGRES_URL, VIMMON_TEST_MARIADB_URL and VIMMON_TEST_RABBITMQ_URL; the defaults
are those of a fresh installation on this machine. Redis needs no address: tests start one of their own.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy
from amqp.exceptions import AMQPError  # type: ignore[import-untyped]  # has no type hints
from kombu.connection import Connection as BrokerConnection
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url

from vimmon.embedded.process import ServerDidNotStart
from vimmon.embedded.redis import find_redis_server

CONNECT_TIMEOUT_S = 5
DEFAULTS = {
    "VIMMON_TEST_POSTGRES_URL": "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    "VIMMON_TEST_MARIADB_URL": "mysql+pymysql://root@127.0.0.1:3306/test",
    "VIMMON_TEST_RABBITMQ_URL": "amqp://guest:guest@127.0.0.1:5672//",
}


def service_url(variable: str) -> str:
    """The address of a service, from the environment or the default."""
    return os.environ.get(variable) or DEFAULTS[variable]


def postgres_missing() -> str | None:
    """Why there is no PostgreSQL to test with; None if there is."""
    return _database_missing("VIMMON_TEST_POSTGRES_URL")


def mariadb_missing() -> str | None:
    """Why there is no MariaDB or MySQL to test with; None if there is."""
    return _database_missing("VIMMON_TEST_MARIADB_URL")


def rabbitmq_missing() -> str | None:
    """Why there is no RabbitMQ to test with; None if there is."""
    try:
        with broker():
            return None
    except (BrokerError, AMQPError) as error:  # nobody there, or we are not let in
        return f"VIMMON_TEST_RABBITMQ_URL: no broker answers ({error})"


def redis_missing() -> str | None:
    """Why no Redis can be started for tests; None if one can."""
    try:
        find_redis_server()
    except ServerDidNotStart as error:
        return f"{error}. {error.remedy}"
    return None


def broker() -> BrokerConnection:
    """An open connection to RabbitMQ. BrokerError or AMQPError if it cannot be had."""
    url = service_url("VIMMON_TEST_RABBITMQ_URL")
    # kombu has few type hints: both ignores are for that
    connection = BrokerConnection(url, connect_timeout=CONNECT_TIMEOUT_S)  # type: ignore[no-untyped-call]
    connection.ensure_connection(max_retries=1, interval_start=0)  # type: ignore[no-untyped-call]
    return connection


@contextmanager
def fresh_postgres_database() -> Iterator[str]:
    """The URL of a new and empty database, dropped at the end whoever is still connected."""
    url, name = make_url(service_url("VIMMON_TEST_POSTGRES_URL")), _unique_name()
    _execute(url, f'CREATE DATABASE "{name}"')
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(url, f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def fresh_mariadb_database() -> Iterator[str]:
    """The URL of a new and empty database, dropped at the end whoever is still connected."""
    url, name = _without_database(make_url(service_url("VIMMON_TEST_MARIADB_URL"))), _unique_name()
    _execute(url, f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        _end_mariadb_sessions(url, name)
        _execute(url, f"DROP DATABASE `{name}`")


def _unique_name() -> str:
    return f"vimmon_test_{secrets.token_hex(6)}"


def _database_missing(variable: str) -> str | None:
    url = make_url(service_url(variable))
    try:
        _execute(_without_database(url) if url.get_backend_name() == "mysql" else url, "SELECT 1")
    except sqlalchemy.exc.OperationalError as error:
        return f"{variable}: no database answers ({error.orig})"
    return None


def _without_database(url: URL) -> URL:
    # MariaDB does not need one to connect, and the default's name exists only in some installations.
    return url.set(database="")


def _execute(url: URL, statement: str) -> list[tuple[object, ...]]:
    engine = sqlalchemy.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        poolclass=sqlalchemy.NullPool,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
    )
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def _end_mariadb_sessions(url: URL, name: str) -> None:
    """An open transaction holds the database's metadata: DROP would wait for it for ever."""
    for (session,) in _execute(url, f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"):
        try:
            _execute(url, f"KILL {session}")
        except sqlalchemy.exc.OperationalError:  # it has just ended by itself
            continue
