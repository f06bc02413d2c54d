"""Runs the migrations on the connection that `vimmon.registry.database` hands over, in its transaction."""

from alembic import context

from vimmon.registry.migrations import VERSION_TABLE
from vimmon.registry.models import METADATA


def ours(name: str | None, type_: str, parents: object) -> bool:
    """Whether Alembic should look at it: a database may have tables of others too."""
    return type_ != "table" or name in METADATA.tables


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    include_name=ours,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
