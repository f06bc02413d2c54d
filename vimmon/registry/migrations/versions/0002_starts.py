"""Since when a start is awaited, and how often in vain: for what compares the database with the executors."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")
    op.add_column("vims", sa.Column("starts", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("vims", sa.Column("awaited_since", moment, nullable=True))
    op.execute("UPDATE vims SET awaited_since = updated_at")
