"""Which revision the tables of a database have, and which ones this vimmon knows.

Without Alembic, which takes longer to load than all else that a command needs.
"""

from pathlib import Path
from pkgutil import iter_modules

from sqlalchemy import Connection, inspect, text

from vimmon.registry.migrations import VERSION_TABLE

MIGRATIONS = Path(__file__).parent / "migrations"


def known_revisions() -> list[str]:
    """From the first to the head. The file of a migration begins with its revision."""
    return sorted(module.name.partition("_")[0] for module in iter_modules([str(MIGRATIONS / "versions")]))


def revision_of(connection: Connection) -> str | None:
    """The revision of the tables in this database; None where there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().first()  # noqa: S608  # our own
