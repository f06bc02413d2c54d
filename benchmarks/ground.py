"""What the benchmarks of the RPC stand on: a Redis, databases with VIMs, conductors; all of it real, and their own."""

import json
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis
from sqlalchemy import Engine, func, insert, select, text

from benchmarks.measure import with_children
from benchmarks.programs import ROOT
from tests.support.services import fresh_postgres_database
from vimmon.embedded.process import Child
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.lease.store import LeaseStore
from vimmon.registry.database import open_engine, upgrade
from vimmon.registry.models import STATUS_CHANGES, VIMS, utc_now

LEASE_TTL_S = 900
READY_S = 40.0
ONLY_RPC = ("--rpc", "1", "--workers", "0", "--no-upkeep", "--no-reconcile")

# Sleeps once for each transaction that changes a VIM, when that commits, however many statements it had.
SLOW_COMMIT = """
CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('bench.slept', true) IS DISTINCT FROM txid_current()::text THEN
    PERFORM set_config('bench.slept', txid_current()::text, true), pg_sleep({seconds});
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER UPDATE ON vims DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION slow_commit();
"""


@dataclass
class Site:
    """One installation: a database, a prefix in Redis, VIMs in both, and conductors."""

    name: str
    url: str
    engine: Engine
    redis: RedisServer
    folder: Path
    vims: list[dict[str, Any]] = field(default_factory=list)
    conductors: list[Child] = field(default_factory=list)

    @property
    def keys(self) -> Keys:
        return Keys(self.name)

    def populate(self, number: int, owner: str) -> Path:
        """So many more VIMs, with their leases. Returns the file that tells callers of them."""
        vims: list[dict[str, Any]] = [
            {"vim_id": str(uuid.uuid4()), "action_id": str(uuid.uuid4()), "generation": 1, "number": i}
            for i in range(number)
        ]
        common = {"type": "generic", "auth_url": "http://192.0.2.1:5000/v3", "probe": '{"kind": "tcp"}'}
        with self.engine.connect() as connection:
            now = connection.execute(select(utc_now())).scalar_one()
        times = dict.fromkeys(("status_since", "created_at", "updated_at", "awaited_since"), now)
        rows = [
            {
                **{"id": vim["vim_id"], "name": vim["vim_id"], "live_name": vim["vim_id"], "status": "PENDING"},
                **{"status_seq": 0, "action_id": vim["action_id"], "generation": 1, **common, **times},
            }
            for vim in vims
        ]
        for start in range(0, number, 5000):
            with self.engine.begin() as connection:
                connection.execute(insert(VIMS), rows[start : start + 5000])
        if self.engine.dialect.name == "postgresql":
            with self.engine.begin() as connection:
                connection.execute(text("ANALYZE vims"))  # as PostgreSQL does by itself, a minute later
        with Redis.from_url(self.redis.url) as client:
            store = LeaseStore(client, self.keys, ttl_s=LEASE_TTL_S)
            for start in range(0, number, 500):
                some = {vim["vim_id"]: Lease(1, vim["action_id"]) for vim in vims[start : start + 500]}
                store.advance(some, {}, as_of_ms=store.now_ms())
        self.vims += vims
        file = self.folder / f"{self.name}-{owner}.json"
        file.write_text(json.dumps(vims), encoding="utf-8")
        return file

    def rows(self, vim_ids: list[str]) -> dict[str, list[Any]]:
        """Status, seq and holder of each, as the database has them."""
        columns = VIMS.c
        query = select(columns.id, columns.status, columns.status_seq, columns.holder).where(columns.id.in_(vim_ids))
        with self.engine.connect() as connection:
            return {row.id: [row.status, row.status_seq, row.holder] for row in connection.execute(query)}

    def changes(self) -> int:
        """How many changes of status the database has a record of."""
        with self.engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(STATUS_CHANGES)).scalar_one())

    def start_conductor(self, parts: Sequence[str] = ONLY_RPC) -> None:
        env = {
            "VIMMON_REDIS_URL": self.redis.url,
            "VIMMON_DATABASE_URL": self.url,
            "VIMMON_PREFIX": self.name,
            "VIMMON_ENV_FILE": os.devnull,
            "PYTHONPATH": str(ROOT),
        }
        name = f"conductor-{self.name}-{len(self.conductors)}"
        before = self._serving()
        child = Child(name, [sys.executable, "-m", "vimmon.conductor", *parts], self.folder, env=env)
        self.conductors.append(child)
        child.wait_ready(lambda: self._serving() > before, READY_S)

    def stop_conductors(self, *, down_to: int = 0) -> None:
        while len(self.conductors) > down_to:
            self.conductors.pop().stop()

    def _serving(self) -> int:
        with Redis.from_url(self.redis.url) as client:
            return int(client.zcard(self.keys.conductors))

    def conductor_pids(self) -> list[int]:
        return [pid for child in self.conductors for pid in with_children(child.pid)]

    def database_pids(self) -> list[int]:
        """PostgreSQL's processes that serve this database; none for SQLite, which runs in its callers."""
        if self.engine.dialect.name != "postgresql":
            return []
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        with self.engine.connect() as connection:
            return [int(pid) for (pid,) in connection.execute(text(query))]


@contextmanager
def site(
    name: str, kind: str, redis: RedisServer, folder: Path, *, commit_s: float = 0, url: str | None = None
) -> Iterator[Site]:
    """`commit_s`: how much longer each transaction shall take; PostgreSQL only. `url`: that of an empty database."""
    with ExitStack() as stack:
        if url is not None:
            pass
        elif kind == "sqlite":
            url = f"sqlite:///{folder / name / 'vimmon.sqlite'}"
        else:
            url = stack.enter_context(fresh_postgres_database())
        engine = open_engine(url)
        stack.callback(engine.dispose)
        upgrade(engine)
        if commit_s:
            with engine.begin() as connection:
                connection.exec_driver_sql(SLOW_COMMIT.format(seconds=commit_s))
        made = Site(name, url, engine, redis, folder)
        stack.callback(made.stop_conductors)
        yield made
