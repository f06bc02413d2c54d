"""The tables, the type of their times, and the clock that they are written by: the database's own."""

from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import BigInteger, DateTime, Dialect, Index, Integer, String, Table, Text, UniqueConstraint
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
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
MYSQL_TABLE = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


class Base(DeclarativeBase):
    pass


class VimRow(Base):
    """A VIM. `live_name` is its name while it lives, and NULL after: so a name is unique among the living only."""

    __tablename__ = "vims"

    id: Mapped[str] = mapped_column(String(VIM_ID_MAX), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX))
    live_name: Mapped[str | None] = mapped_column(String(NAME_MAX))
    type: Mapped[str] = mapped_column(String(32))
    auth_url: Mapped[str] = mapped_column(String(AUTH_URL_MAX))
    probe: Mapped[str] = mapped_column(Text)  # JSON: its settings without auth_url
    status: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(REASON_MAX))
    status_since: Mapped[datetime] = mapped_column(UtcDateTime)
    status_seq: Mapped[int] = mapped_column(BigInteger)
    holder: Mapped[str | None] = mapped_column(String(HOLDER_MAX))
    action_id: Mapped[str | None] = mapped_column(String(ID_MAX))
    generation: Mapped[int] = mapped_column(BigInteger)
    execution_id: Mapped[str | None] = mapped_column(String(ID_MAX))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cleaned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # when Mistral had nothing left of it
    starts: Mapped[int] = mapped_column(Integer, server_default="0")  # in vain, since it was last held
    awaited_since: Mapped[datetime | None] = mapped_column(UtcDateTime)  # its last start, or the execution of that

    origin: Mapped[str] = mapped_column(String(16), server_default="operator")

    __table_args__ = (
        UniqueConstraint("live_name", name="uq_vims_live_name"),
        Index("ix_vims_cleaned_at", "cleaned_at"),  # not deleted_at: a planner would take that instead of the key
        MYSQL_TABLE,
    )


class StatusChangeRow(Base):
    """One change of a VIM's status. It refers to its VIM by convention only: what purges a VIM purges these first."""

    __tablename__ = "status_changes"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    vim_id: Mapped[str] = mapped_column(String(VIM_ID_MAX))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    old: Mapped[str] = mapped_column(String(16))
    new: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(REASON_MAX))
    generation: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int] = mapped_column(BigInteger)
    action_id: Mapped[str] = mapped_column(String(ID_MAX))

    __table_args__ = (
        Index("ix_status_changes_vim_id_id", "vim_id", "id"),
        Index("ix_status_changes_at", "at"),
        MYSQL_TABLE,
    )


class InstallationRow(Base):
    """The one row that names this database, made with the tables."""

    __tablename__ = "installation"

    id: Mapped[str] = mapped_column(String(VIM_ID_MAX), primary_key=True)

    __table_args__ = (MYSQL_TABLE,)


VIMS = cast(Table, VimRow.__table__)
STATUS_CHANGES = cast(Table, StatusChangeRow.__table__)
INSTALLATION = cast(Table, InstallationRow.__table__)
