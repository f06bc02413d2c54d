"""The first tables: VIMs, their status changes, and this installation's id."""

import uuid
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MYSQL_TABLE: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def moment() -> sa.DateTime:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")


def upgrade() -> None:
    op.create_table(
        "vims",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("live_name", sa.String(255), nullable=True),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("auth_url", sa.String(2000), nullable=False),
        sa.Column("probe", sa.Text(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(500), nullable=True),
        sa.Column("status_since", moment(), nullable=False),
        sa.Column("status_seq", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(200), nullable=True),
        sa.Column("action_id", sa.String(64), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("execution_id", sa.String(64), nullable=True),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("updated_at", moment(), nullable=False),
        sa.Column("deleted_at", moment(), nullable=True),
        sa.Column("cleaned_at", moment(), nullable=True),
        sa.UniqueConstraint("live_name", name="uq_vims_live_name"),
        **MYSQL_TABLE,
    )
    op.create_index("ix_vims_cleaned_at", "vims", ["cleaned_at"])
    op.create_table(
        "status_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("vim_id", sa.String(36), nullable=False),
        sa.Column("at", moment(), nullable=False),
        sa.Column("old", sa.String(16), nullable=False),
        sa.Column("new", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(500), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("action_id", sa.String(64), nullable=False),
        **MYSQL_TABLE,
    )
    op.create_index("ix_status_changes_vim_id_id", "status_changes", ["vim_id", "id"])
    op.create_index("ix_status_changes_at", "status_changes", ["at"])
    installation = op.create_table("installation", sa.Column("id", sa.String(36), primary_key=True), **MYSQL_TABLE)
    op.bulk_insert(installation, [{"id": str(uuid.uuid4())}])
