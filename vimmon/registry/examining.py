"""What can be said of a database from outside its tables: which kind, which version, what time it is there."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from vimmon.registry.database import open_engine
from vimmon.registry.schema import known_revisions, revision_of
from vimmon.registry.store import VimStore
from vimmon.registry.transactions import clock, place, read


@dataclass(frozen=True)
class Examined:
    """`revision`: of its tables, None without any; `head`: the one this vimmon needs."""

    place: str
    version: str
    now: datetime
    revision: str | None
    head: str
    newer: bool


class Database:
    """Raises SettingsError when made, and DatabaseUnreachable. `store` has the VIMs, if there are tables."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self.store = VimStore(self._engine)

    def examine(self) -> Examined:
        """As it is now."""
        engine = self._engine
        version, now, revision = read(
            engine,
            lambda connection: (connection.dialect.server_version_info, clock(connection), revision_of(connection)),
        )
        known = known_revisions()
        kind = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL"}[engine.dialect.name]
        if engine.dialect.name == "sqlite":
            version = sqlite3.sqlite_version_info
        elif getattr(engine.dialect, "is_mariadb", False):
            kind = "MariaDB"
        number = ".".join(str(part) for part in version or () if isinstance(part, int))
        newer = revision is not None and revision not in known
        return Examined(place(engine.url), f"{kind} {number}".strip(), now, revision, known[-1], newer)
