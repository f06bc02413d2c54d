"""What the benchmark of starts stands on: a real Mistral in three processes, and a vimmon that notes its steps."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from keystoneauth1.session import Session
from mistralclient.api.v2.client import Client
from redis import Redis
from rq import Worker
from sqlalchemy import select

from benchmarks.doors import Doors
from benchmarks.measure import with_children
from benchmarks.programs import ROOT
from tests.support.mistral import ThreeProcessMistral
from tests.support.services import fresh_postgres_database
from vimmon import Registry
from vimmon.embedded.process import Child
from vimmon.embedded.redis import RedisServer
from vimmon.mistral.workflow import definition, workflow_input, workflow_name
from vimmon.probes import probe_for
from vimmon.registry.database import open_engine, upgrade
from vimmon.registry.models import VIMS
from vimmon.settings import load_settings
from vimmon.vim import VimType

READY_S = 60.0
PATIENCE_S = 180.0
PROBE = {"kind": "tcp"}
ANOTHER = "another-installation"
BEGAN = re.compile(r"^(\S+ [\d:.]+) .* monitor_began vim_id=(\S+)")


class Late(Exception):
    """Something did not come, or not as it should."""


def until(look: Callable[[], bool], what: str, *, within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not look():
        if time.monotonic() > deadline:
            raise Late(f"after {within_s:g} s still not: {what}")
        time.sleep(0.05)


@dataclass(frozen=True)
class Started:
    """One VIM: when each step was over, in seconds since 1970."""

    asked: float
    registered: float
    taken: float
    workflow_s: float
    execution_s: float
    executed: float
    recorded: float
    began: float
    probed: float
    reachable: float

    def parts(self) -> dict[str, float]:
        return {
            "registering": self.registered - self.asked,
            "the job waits for a worker": self.taken - self.registered,
            "workflow: create": self.workflow_s,
            "execution: create": self.execution_s,
            "the worker's own: process, connections, database": (
                self.recorded - self.taken - self.workflow_s - self.execution_s
            ),
            "dispatch, until the action runs": self.began - self.executed,
            "until the first probe": self.probed - self.began,
            "the probe, and the report until it is written": self.reachable - self.probed,
        }


class Cloud:
    """Everything of its own: PostgreSQL, Redis, message queues. `workers` are those that carry out jobs."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._redis = stack.enter_context(RedisServer(folder / "redis"))
        url = stack.enter_context(fresh_postgres_database())
        self._engine = open_engine(url)
        stack.callback(self._engine.dispose)
        upgrade(self._engine)
        self._doors = Doors()
        stack.callback(self._doors.close)
        plain = {"VIMMON_REDIS_URL": self._redis.url, "VIMMON_ENV_FILE": os.devnull, "PYTHONPATH": str(ROOT)}
        self.mistral = stack.enter_context(ThreeProcessMistral(folder / "mistral", env=plain))
        self._env = {**plain, "VIMMON_DATABASE_URL": url, "VIMMON_MISTRAL_URL": self.mistral.url}
        self._registry = Registry.from_settings(load_settings(self._env))
        command = [sys.executable, "-m", "vimmon.conductor", "--workers", "0"]
        self.conductor = Child("conductor", command, folder, env=self._env)
        stack.callback(self.conductor.stop)
        self.conductor.wait_ready(lambda: "rpc_started" in self.conductor.log.read_text(), READY_S)
        self._steps = folder / "steps"
        self._workers: list[subprocess.Popen[bytes]] = []
        stack.callback(lambda: self.set_workers(0))

    def parts(self) -> dict[str, Callable[[], list[int]]]:
        return {
            "API": lambda: with_children(self.mistral.api.pid),
            "engine": lambda: with_children(self.mistral.engine.pid),
            "executor": lambda: with_children(self.mistral.executors[0].pid),
            "conductor": lambda: with_children(self.conductor.pid),
            "Redis": lambda: [self._redis.pid],
        }

    def worker_cpu_s(self) -> float:
        """Of all workers until now, with the processes that carried out jobs and have ended."""
        total = 0.0
        for pid in [pid for worker in self._workers for pid in with_children(worker.pid)]:
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        return total

    def set_workers(self, number: int) -> None:
        while len(self._workers) > number:
            worker = self._workers.pop()
            worker.terminate()
            worker.communicate()
        while len(self._workers) < number:
            command = [sys.executable, "-m", "benchmarks.timed_worker", str(self._steps)]
            with (self._folder / "workers.log").open("ab") as log:
                self._workers.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env={**os.environ, **self._env}, stdin=subprocess.PIPE, stderr=log
                    )
                )
        with Redis.from_url(self._redis.url) as redis:
            until(lambda: len(Worker.all(connection=redis)) == number, f"{number} workers", within_s=READY_S)

    def bring_up(self, number: int) -> tuple[float, list[Started]]:
        """Registers so many VIMs. Returns when all are REACHABLE: when it began, and what became of each."""
        asked: dict[str, tuple[float, float, str]] = {}
        begun = time.time()
        for _ in range(number):
            before, url = time.time(), self._doors.another()
            vim = self._registry.register(f"vim-{uuid.uuid4()}", url, type=VimType.GENERIC, probe=PROBE).vim
            asked[vim.id] = (before, time.time(), url)
        query = select(VIMS.c.id, VIMS.c.action_id, VIMS.c.execution_id, VIMS.c.status_since)
        query = query.where(VIMS.c.id.in_(asked), VIMS.c.status == "REACHABLE", VIMS.c.execution_id.is_not(None))
        rows: dict[str, datetime] = {}

        def all_up() -> bool:
            with self._engine.connect() as connection:
                for row in connection.execute(query):
                    if row.execution_id != row.action_id:
                        raise Late(f"VIM {row.id} is watched by another execution than its own")
                    rows[row.id] = row.status_since
            return len(rows) == number

        until(all_up, f"{number} VIMs REACHABLE")
        until(lambda: len(self._noted(asked)) == number, "all jobs ended")
        steps, began = self._noted(asked), self._began()
        return begun, [
            Started(
                asked=before,
                registered=registered,
                taken=steps[vim_id]["job"][0],
                workflow_s=steps[vim_id]["workflow"][1] - steps[vim_id]["workflow"][0],
                execution_s=steps[vim_id]["execution"][1] - steps[vim_id]["execution"][0],
                executed=steps[vim_id]["execution"][1],
                recorded=steps[vim_id]["job"][1],
                began=began[vim_id],
                probed=self._doors.first[url],
                reachable=rows[vim_id].replace(tzinfo=UTC).timestamp(),
            )
            for vim_id, (before, registered, url) in asked.items()
        ]

    def straight(self, number: int, clients: int) -> tuple[float, float]:
        """The same workflows and executions, made by so many clients at once. Executions a second; and those whose
        action ran, a second."""
        vim_ids = [str(uuid.uuid4()) for _ in range(number)]
        apis = threading.local()

        def make(vim_id: str) -> None:
            if not hasattr(apis, "client"):
                apis.client = self.api()
            url, action_id = self._doors.another(), str(uuid.uuid4())
            probe = probe_for(VimType.GENERIC, url, PROBE).model_dump(mode="json")
            given = workflow_input(vim_id=vim_id, action_id=action_id, generation=1, probe=probe)
            apis.client.workflows.create(definition(vim_id, ANOTHER))
            request = {"id": action_id, "workflow_name": workflow_name(vim_id), "input": json.dumps(given)}
            apis.client.executions._create("/executions", request)

        begun = time.time()
        with ThreadPoolExecutor(clients) as pool:
            for _ in pool.map(make, vim_ids):
                pass
        created_s = time.time() - begun
        until(lambda: self._began().keys() >= set(vim_ids), "all actions run")
        began = self._began()
        return number / created_s, number / (max(began[vim_id] for vim_id in vim_ids) - begun)

    def api(self) -> Client:
        return Client(mistral_url=self.mistral.url, session=Session(timeout=60), enforce_raw_definitions=True)

    def _noted(self, vim_ids: dict[str, tuple[float, float, str]]) -> dict[str, dict[str, tuple[float, float]]]:
        """The steps of those whose job has ended."""
        found: dict[str, dict[str, tuple[float, float]]] = {}
        for line in self._steps.read_text().splitlines():
            vim_id, step, began, ended = line.split()
            if vim_id in vim_ids:
                found.setdefault(vim_id, {})[step] = (float(began), float(ended))
        return {vim_id: steps for vim_id, steps in found.items() if "job" in steps}

    def _began(self) -> dict[str, float]:
        """When the action of each VIM ran first, as the executor says."""
        found: dict[str, float] = {}
        for line in self.mistral.executors[0].log.read_text().splitlines():
            if match := BEGAN.match(line):
                found.setdefault(match[2], datetime.fromisoformat(match[1]).timestamp())
        return found
