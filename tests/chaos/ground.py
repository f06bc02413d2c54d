"""What a row stands on: a Redis, a PostgreSQL with a witness in it, conductors, monitors, all of it real processes."""

import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own
from redis import Redis
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from tests.chaos.audit import Audit
from tests.chaos.rows import Late, Scale, until
from tests.chaos.valve import Targets, Valve
from tests.support.services import fresh_postgres_database
from vimmon import Registry
from vimmon.embedded.process import Child, free_port
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.lease.store import LeaseStore
from vimmon.registry.database import open_engine, upgrade
from vimmon.registry.store import VimStore
from vimmon.settings import load_settings
from vimmon.vim import Vim, VimType

ROOT = Path(__file__).parents[2]
READY_S = 40.0
# What Redis reads anew takes its time, as a large data set does: a ms for each key; and it says so meanwhile.
SLOW_TO_LOAD = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
_one_at_a_time = threading.Lock()  # Alembic cannot do two things in one process


class Talking:
    """A program that takes orders on its standard input, a JSON a line, and ends with it."""

    def __init__(self, module: str, *arguments: str, env: Mapping[str, str], log: Path) -> None:
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def hear(self, within_s: float) -> dict[str, Any]:
        """What it prints next. Late when nothing comes; then it is ended."""
        assert self.process.stdout is not None
        timer = threading.Timer(within_s, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line:
            raise Late(f"nothing was said within {within_s:g} s")
        return dict(json.loads(line))

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._log.close()


class Ground:
    """Processes find Redis and the database through valves, unless they are told otherwise."""

    def __init__(
        self, folder: Path, scale: Scale, stack: ExitStack, *, targets: int = 0, persistent: bool = False
    ) -> None:
        self.folder, self.scale, self.stack = folder, scale, stack
        self.keys = Keys()
        options = SLOW_TO_LOAD if persistent else ()
        self.redis_server = stack.enter_context(
            RedisServer(folder / "redis", port=free_port(), persistent=persistent, options=options)
        )
        self.look_at(self.redis_server.url)
        self.database_url = stack.enter_context(fresh_postgres_database())
        self.engine = open_engine(self.database_url)
        stack.callback(self.engine.dispose)
        with _one_at_a_time:
            upgrade(self.engine)
        self.vims = VimStore(self.engine)
        witness = create_engine(self.engine.url)
        stack.callback(witness.dispose)
        self.audit = Audit(witness)
        self.audit.install()
        database = make_url(self.database_url)
        self.redis_valve = stack.enter_context(Valve(self.redis_server.port))
        self.database_valve = stack.enter_context(Valve(database.port or 5432, database.host or "127.0.0.1"))
        self.targets = Targets(targets)
        stack.callback(self.targets.close)
        valved = database.set(host="127.0.0.1", port=self.database_valve.port)
        self.env = {
            **scale.environment,
            "VIMMON_ENV_FILE": os.devnull,
            "VIMMON_REDIS_URL": self.redis_valve.redis_url,
            "VIMMON_DATABASE_URL": valved.render_as_string(hide_password=False),
            "PYTHONPATH": str(ROOT),
        }
        self.direct = {**self.env, "VIMMON_REDIS_URL": self.redis_server.url, "VIMMON_DATABASE_URL": self.database_url}
        self.registry = Registry.from_settings(load_settings(self.direct))
        self.children: list[Child] = []
        self._names = 0

    # Processes.

    def launch(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Child:
        self._names += 1
        name = f"{module.rpartition('.')[2]}-{self._names}"
        child = Child(name, [sys.executable, "-m", module, *arguments], self.folder, env={**self.env, **(env or {})})
        self.children.append(child)
        self.stack.callback(child.stop)
        self.stack.callback(child.kill)
        return child

    def conductor(self, *arguments: str, env: Mapping[str, str] | None = None, wait: bool = True) -> Child:
        child = self.launch("vimmon.conductor", *arguments, env=env)
        if wait:
            child.wait_ready(lambda: answers(child), READY_S)
        return child

    def talking(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Talking:
        self._names += 1
        log = self.folder / f"{module.rpartition('.')[2]}-{self._names}.log"
        process = Talking(module, *arguments, env={**self.env, **(env or {})}, log=log)
        self.stack.callback(process.stop)
        return process

    def look_at(self, redis_url: str) -> None:
        """From now on another Redis is the one that is looked at."""
        self.redis = Redis.from_url(redis_url)
        self.stack.callback(self.redis.close)
        self.leases = LeaseStore(self.redis, self.keys, ttl_s=900)

    def rewrite(self) -> None:
        """Has Redis keep what it holds now, and not also what it held before."""
        self.redis.bgrewriteaof()
        until(lambda: not self._persistence()["aof_rewrite_in_progress"], READY_S, "its data are rewritten")
        assert self._persistence()["aof_last_bgrewrite_status"] == "ok"

    def forget_data(self) -> None:
        """Has Redis, which must not run, know nothing when it starts."""
        shutil.rmtree(self.folder / "redis" / "appendonlydir")

    def _persistence(self) -> dict[str, Any]:
        return self.redis.info("persistence")

    # VIMs.

    def registered(self, count: int, *, name: str = "vim") -> list[Vim]:
        """VIMs as the registry leaves them, without a job for Mistral; each with a target of its own, if there are."""
        vims = []
        for number in range(count):
            url = self.targets.url(number) if self.targets.ports else "http://192.0.2.1:5000"
            vim = self.vims.register(
                vim_id=str(uuid.uuid4()),
                name=f"{name}-{number}",
                vim_type=VimType.GENERIC,
                auth_url=url,
                probe=self.scale.probe,
                action_id=str(uuid.uuid4()),
            )
            self.leases.grant(vim.id, Lease(vim.generation, vim.action_id))
            vims.append(vim)
        return vims

    def have_statuses(self, wanted: Mapping[str, str]) -> bool:
        rows = self.audit.rows(wanted)
        return all(rows[vim_id]["status"] == status for vim_id, status in wanted.items())

    # What Redis says.

    def held(self) -> dict[str, dict[str, str]]:
        """What executors that live hold: executor → VIM → lease."""
        held = {}
        for name in cast(list[bytes], self.redis.zrange(self.keys.executors, 0, -1)):
            executor = name.decode()
            if self.redis.exists(self.keys.executor(executor)):
                found = cast(dict[bytes, bytes], self.redis.hgetall(self.keys.held(executor)))
                held[executor] = {vim_id.decode(): lease.decode() for vim_id, lease in found.items()}
        return held

    def all_held(self, vim_ids: Sequence[str], *, by: str | None = None) -> bool:
        """Whether living executors (or the one whose id begins with `by`) hold the wanted action of each."""
        rows = self.audit.rows(vim_ids)
        wanted = {vim_id: f"{row['generation']}:{row['action_id']}" for vim_id, row in rows.items()}
        found = {
            (vim_id, lease)
            for executor, leases in self.held().items()
            if by is None or executor.startswith(by)
            for vim_id, lease in leases.items()
        }
        return found >= wanted.items()

    def nothing_taken(self) -> bool:
        """Whether no request waits or is in anybody's hand, and the index names nobody who is dead."""
        if self.redis.llen(self.keys.requests) or list(self.redis.scan_iter(match=self.keys.taken("*", "*"))):
            return False
        index = [taken.decode() for taken in cast(list[bytes], self.redis.zrange(self.keys.taken_index, 0, -1))]
        return all(self.redis.exists(self.keys.conductor(self.keys.conductor_of(taken))) for taken in index)


def answers(conductor: Child) -> bool:
    return "rpc_started" in conductor.log.read_text()


def processes_of(child: Child) -> list[psutil.Process]:
    try:
        return list(psutil.Process(child.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def settled(ground: Ground, within_s: float) -> bool:
    """Whether every request was answered and nothing is left in anybody's hand in time."""
    try:
        return until(ground.nothing_taken, within_s, "taken-lists empty")
    except Late:
        return False


@contextmanager
def ground(folder: Path, scale: Scale, *, targets: int = 0, persistent: bool = False) -> Iterator[Ground]:
    with ExitStack() as stack:
        yield Ground(folder, scale, stack, targets=targets, persistent=persistent)
