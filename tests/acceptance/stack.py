"""A whole vimmon with a real Mistral, and three looks at it that do not go through vimmon itself.

Mistral is seen through its own client, Redis through redis-cli, the database through SQL.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own
from keystoneauth1.session import Session
from mistralclient.api.base import APIException
from mistralclient.api.client import client
from mistralclient.api.v2.client import Client
from sqlalchemy import Engine, create_engine, text

from tests.support.mistral import ThreeProcessMistral
from tests.support.services import fresh_postgres_database, postgres_missing, rabbitmq_missing, redis_missing
from tests.support.strict import require
from vimmon import Registry
from vimmon.embedded.mistral import MistralServer
from vimmon.embedded.process import Child, free_port
from vimmon.embedded.redis import RedisServer, find_redis_cli
from vimmon.registry.database import open_engine, upgrade
from vimmon.settings import load_settings

KINDS = ("one-process", "three-process")
CHECK_S = 2.0
JITTER = 0.1  # of the check interval
SLACK_S = 2.5  # what a busy machine adds to anything
PATIENCE_S = 60.0
POLL_S = 0.1  # each look starts a redis-cli, or several
PROBE = {"interval_s": 0.5, "confirm_interval_s": 0.2, "timeout_s": 2}
TIMES = {
    "VIMMON_CHECK_INTERVAL_S": str(CHECK_S),
    "VIMMON_EXECUTOR_BEAT_S": "1",
    "VIMMON_EXECUTOR_TTL_S": "4",
    "VIMMON_CONDUCTOR_BEAT_S": "1",
    "VIMMON_CONDUCTOR_TTL_S": "4",
    "VIMMON_MISTRAL_TIMEOUT_S": "10",
}
T = TypeVar("T")


def eventually(look: Callable[[], T | None], *, within_s: float = PATIENCE_S) -> T:
    """The first value of `look` that is true; AssertionError with the last one when none comes in time."""
    deadline = time.monotonic() + within_s
    while not (value := look()):
        assert time.monotonic() < deadline, f"after {within_s:g} s still {value!r}"
        time.sleep(POLL_S)
    return value


def becomes(look: Callable[[], object], wanted: object, *, within_s: float = PATIENCE_S) -> float:
    """How many seconds it took until `look` returned `wanted`; AssertionError when it took too long."""
    begun = time.monotonic()
    while (value := look()) != wanted:
        assert time.monotonic() < begun + within_s, f"after {within_s:g} s still {value!r}, not {wanted!r}"
        time.sleep(POLL_S)
    return time.monotonic() - begun


@dataclass
class Stack:
    """The parts, and what an operator can find out about each VIM from outside."""

    kind: str
    folder: Path
    env: Mapping[str, str]
    redis: RedisServer
    database: Engine
    mistral: MistralServer | ThreeProcessMistral
    api: Client
    registry: Registry
    conductors: list[Child] = field(default_factory=list)

    def start_conductor(self, *, workers: int = 1, env: Mapping[str, str] | None = None) -> Child:
        """One more, which takes requests and jobs when this returns."""
        name = f"conductor-{len(self.conductors) + 1}"
        command = [sys.executable, "-m", "vimmon.conductor", "--workers", str(workers)]
        expected = len(self.workers()) + workers
        child = Child(name, command, self.folder, env={**self.env, **(env or {})})
        self.conductors.append(child)
        child.wait_ready(lambda: "rpc_started" in child.log.read_text(), PATIENCE_S)
        eventually(lambda: self.ready_workers() == expected)
        return child

    def stop_conductors(self) -> None:
        for child in self.conductors:
            child.stop()

    # What Redis says.

    def redis_cli(self, *arguments: str) -> str:
        command = [str(find_redis_cli()), "-p", str(self.redis.port), "--raw", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout.strip()

    def lease(self, vim_id: str) -> str:
        return self.redis_cli("GET", f"vimmon:lease:{vim_id}")

    def committed(self, vim_id: str) -> list[str]:
        """Generation, seq, status and holder, as the status key has them."""
        return self.redis_cli("GET", f"vimmon:status:{vim_id}").split(":", 3)

    def held(self, vim_id: str) -> dict[str, str]:
        """Which executors that live hold the VIM: executor → lease."""
        leases: dict[str, str] = {}
        for executor in self.redis_cli("ZRANGE", "vimmon:executors", "0", "-1").split():
            if self.redis_cli("EXISTS", f"vimmon:executor:{executor}") == "1":
                lease = self.redis_cli("HGET", f"vimmon:executor:{executor}:held", vim_id)
                leases |= {executor: lease} if lease else {}
        return leases

    def call(self, **params: object) -> dict[str, Any]:
        """Sends an update_vim as raw JSON, and returns the answer."""
        replies = f"vimmon:rpc:replies:test:{time.monotonic_ns()}"
        request = {"jsonrpc": "2.0", "id": "by hand", "method": "update_vim", "params": params, "reply_to": replies}
        self.redis_cli("RPUSH", "vimmon:rpc:requests", json.dumps(request))
        _, answer = self.redis_cli("BLPOP", replies, "10").splitlines()
        return dict(json.loads(answer))

    def jobs(self) -> list[str]:
        """The jobs that are not done: waiting, running, or to be tried again."""
        return self.redis_cli("--scan", "--pattern", "rq:job:*").split()

    def ready_workers(self) -> int:
        """How many workers have told Redis that they wait for jobs."""
        names = self.redis_cli("SMEMBERS", "rq:workers").split()
        known = {self.redis_cli("HGET", name, "pid") for name in names}
        return len(known & {str(worker.pid) for worker in self.workers()})

    # What the database says.

    def row(self, vim_id: str) -> dict[str, Any]:
        with self.database.connect() as connection:
            found = connection.execute(text("SELECT * FROM vims WHERE id = :id"), {"id": vim_id}).mappings().one()
            return dict(found)

    def status(self, vim_id: str) -> str:
        return str(self.row(vim_id)["status"])

    def changes(self, vim_id: str) -> list[tuple[Any, ...]]:
        query = text("SELECT generation, old, new FROM status_changes WHERE vim_id = :id ORDER BY id")
        with self.database.connect() as connection:
            return [tuple(row) for row in connection.execute(query, {"id": vim_id})]

    def installation(self) -> str:
        with self.database.connect() as connection:
            return str(connection.execute(text("SELECT id FROM installation")).scalar_one())

    # What Mistral says.

    def workflow(self, vim_id: str) -> Any | None:
        return self._unless_missing(lambda: self.api.workflows.get(f"vimmon.{vim_id}"))

    def executions(self, vim_id: str) -> dict[str, str]:
        """Id → state."""
        found = self.api.executions.list(workflow_name=f"vimmon.{vim_id}", fields=["id", "state"])
        return {execution.id: execution.state for execution in found}

    def actions(self, execution_id: str) -> list[Any]:
        """The action executions of a workflow execution."""
        tasks = self.api.tasks.list(workflow_execution_id=execution_id)
        return [action for task in tasks for action in self.api.action_executions.list(task.id)]

    @staticmethod
    def _unless_missing(ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except APIException as error:
            if error.error_code == 404:
                return None
            raise

    # What the processes say.

    def executor_log(self) -> str:
        children = [self.mistral.child] if isinstance(self.mistral, MistralServer) else self.mistral.executors
        return "".join(child.log.read_text() for child in children)

    def conductor_log(self) -> str:
        """Of all conductors, those that have been stopped included."""
        return "".join(child.log.read_text() for child in self.conductors)

    def left(self, vim_id: str, generation: int) -> str | None:
        """The line of the executor's log that says the monitor of that generation has left."""
        for line in self.executor_log().splitlines():
            if f"monitor_left vim_id={vim_id} generation={generation} " in line:
                return line
        return None

    def workers(self) -> list[psutil.Process]:
        """The RQ workers of all conductors."""
        return [worker for conductor in self.conductors for worker in self._workers_of(conductor)]

    @staticmethod
    def _workers_of(conductor: Child) -> list[psutil.Process]:
        """The only programs that a conductor's own processes start."""
        return [worker for service in _children(conductor.pid) for worker in _children(service.pid)]

    def horses(self) -> list[psutil.Process]:
        """The processes in which workers carry out a job now."""
        return [horse for worker in self.workers() for horse in _children(worker.pid)]

    def only_horse(self) -> psutil.Process:
        """The one that is held in the middle of its job; another, of a sweep, may be about to end."""
        (horse,) = eventually(lambda: found if len(found := self.horses()) == 1 else None)
        return horse

    def clear(self) -> None:
        """De-registers all, and waits until Mistral and the executors have nothing left."""
        gone = [self.registry.deregister(vim.id).vim.id for vim in self.registry.list()]
        for vim_id in gone:
            eventually(lambda vim_id=vim_id: self.row(vim_id)["cleaned_at"])  # type: ignore[misc]  # mypy: default
            eventually(lambda vim_id=vim_id: not self.held(vim_id))  # type: ignore[misc]  # as above


def _children(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children())
    except psutil.NoSuchProcess:
        return []


def why_not(kind: str) -> str | None:
    """What this machine lacks for a stack of that kind; None: nothing."""
    if missing := redis_missing():
        return missing
    if find_redis_cli() is None:
        return "there is no redis-cli on the PATH"
    return (postgres_missing() or rabbitmq_missing()) if kind == "three-process" else None


@contextmanager
def running(kind: str, folder: Path) -> Iterator[Stack]:
    """Starts all parts of that kind, and stops them at the end."""
    require(why_not(kind))
    with ExitStack() as parts:
        redis = parts.enter_context(RedisServer(folder / "redis"))
        if kind == "three-process":
            database_url = parts.enter_context(fresh_postgres_database())
        else:
            database_url = f"sqlite:///{folder}/vimmon.sqlite"
        engine = open_engine(database_url)
        upgrade(engine)
        engine.dispose()
        base = {"VIMMON_ENV_FILE": os.devnull, "VIMMON_REDIS_URL": redis.url, **TIMES}
        mistral: MistralServer | ThreeProcessMistral
        if kind == "three-process":
            mistral = ThreeProcessMistral(folder / "mistral", env=base, executors=2)
        else:
            mistral = MistralServer(folder / "mistral", port=free_port(), env=base)
        parts.enter_context(mistral)
        env = {**base, "VIMMON_DATABASE_URL": database_url, "VIMMON_MISTRAL_URL": mistral.url}
        plain = create_engine(engine.url)
        parts.callback(plain.dispose)
        stack = Stack(
            kind=kind,
            folder=folder,
            env=env,
            redis=redis,
            database=plain,
            mistral=mistral,
            api=client(mistral_url=mistral.url, enforce_raw_definitions=True, session=Session(timeout=30)),
            registry=Registry.from_settings(load_settings(env)),
        )
        parts.callback(stack.stop_conductors)
        for _ in range(2 if kind == "three-process" else 1):
            stack.start_conductor()
        yield stack
