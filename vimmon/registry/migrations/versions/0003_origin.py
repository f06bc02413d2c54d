"""Who keeps a VIM: an operator, or a Tacker server that is followed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("vims", sa.Column("origin", sa.String(16), nullable=False, server_default="operator"))
