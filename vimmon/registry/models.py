"""The tables, the type of their times, and the clock that they are written by: the database's own."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from vimmon.vim import AUTH_URL_MAX, NAME_MAX

ID_MAX = 64
VIM_ID_MAX = 36
HOLDER_MAX = 200
REASON_MAX = 500


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: an aware datetime in Python, UTC without a zone in the table, to the microsecond in every database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(DATETIME(fsp=6) if dialect.name == "mysql" else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone could be any: give an aware datetime")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class utc_now(FunctionElement[datetime]):  # noqa: N801  # reads as the SQL function that it is
    """The database's time at this statement, in UTC. SQLite's clock counts milliseconds."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(utc_now, "sqlite")
def _sqlite_now(element: utc_now, compiler: SQLCompiler, **options: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


@compiles(utc_now, "postgresql")
def _postgresql_now(element: utc_now, compiler: SQLCompiler, **options: Any) -> str:
    # now() is when the transaction began, maybe long before it got its locks.
    return "(clock_timestamp() AT TIME ZONE 'UTC')"


@compiles(utc_now, "mysql")
def _mysql_now(element: utc_now, compiler: SQLCompiler, **options: Any) -> str:
    return "utc_timestamp(6)"


# Without the collation MariaDB takes "Tokyo" and "tokyo" for one name, and one action id for another.
MYSQL_TABLE: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


METADATA = MetaData()

# `live_name` is a VIM's name while it lives, and NULL after: so a name is unique among the living only.
VIMS = Table(
    "vims",
    METADATA,
    Column("id", String(VIM_ID_MAX), primary_key=True),
    Column("name", String(NAME_MAX), nullable=False),
    Column("live_name", String(NAME_MAX)),
    Column("type", String(32), nullable=False),
    Column("auth_url", String(AUTH_URL_MAX), nullable=False),
    Column("probe", Text, nullable=False),  # JSON: its settings without auth_url
    Column("status", String(16), nullable=False),
    Column("reason", String(REASON_MAX)),
    Column("status_since", UtcDateTime, nullable=False),
    Column("status_seq", BigInteger, nullable=False),
    Column("holder", String(HOLDER_MAX)),
    Column("action_id", String(ID_MAX)),
    Column("generation", BigInteger, nullable=False),
    Column("execution_id", String(ID_MAX)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("deleted_at", UtcDateTime),
    Column("cleaned_at", UtcDateTime),  # when Mistral had nothing left of it
    Column("starts", Integer, server_default="0", nullable=False),  # in vain, since it was last held
    Column("awaited_since", UtcDateTime),  # its last start, or the execution of that
    Column("origin", String(16), server_default="operator", nullable=False),
    UniqueConstraint("live_name", name="uq_vims_live_name"),
    Index("ix_vims_cleaned_at", "cleaned_at"),  # not deleted_at: a planner would take that instead of the key
    **MYSQL_TABLE,
)

# Each change of a VIM's status. It refers to its VIM by convention only: what purges a VIM purges these first.
STATUS_CHANGES = Table(
    "status_changes",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("vim_id", String(VIM_ID_MAX), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("old", String(16), nullable=False),
    Column("new", String(16), nullable=False),
    Column("reason", String(REASON_MAX)),
    Column("generation", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("action_id", String(ID_MAX), nullable=False),
    Index("ix_status_changes_vim_id_id", "vim_id", "id"),
    Index("ix_status_changes_at", "at"),
    **MYSQL_TABLE,
)

# The one row that names this database, made with the tables.
INSTALLATION = Table("installation", METADATA, Column("id", String(VIM_ID_MAX), primary_key=True), **MYSQL_TABLE)
