"""Starts a real Mistral as it runs in production: API, engine and executors as processes, over RabbitMQ and PostgreSQL.

Nothing is shared with another one that runs at the same time: database, message topics and exchange have names of their
own, and are removed at the end. (Reply and fan-out queues, which oslo.messaging names, expire by themselves.)
"""

import secrets
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from amqp.exceptions import NotFound  # type: ignore[import-untyped]  # has no type hints
from sqlalchemy.engine import make_url

from tests.support.services import broker, fresh_postgres_database, service_url
from vimmon.embedded.mistral import mistral_works
from vimmon.embedded.process import Child, free_port
from vimmon.embedded.server import Started

START_TIMEOUT_S = 90.0
QUEUE_TTL_S = 30

CONFIG = """\
[DEFAULT]
transport_url = {transport_url}
control_exchange = {name}
# At INFO, Mistral logs every message and the inputs of actions.
default_log_levels = mistral=WARNING,workflow_trace=WARNING,oslo_messaging=WARNING,oslo_service=WARNING,amqp=WARNING
graceful_shutdown_timeout = 5

[oslo_messaging_rabbit]
rabbit_transient_queues_ttl = {queue_ttl_s}

[api]
host = 127.0.0.1
port = {port}

[engine]
topic = {name}-engine

[executor]
topic = {name}-executor
host = {executor}

[notifier]
type = local

[pecan]
auth_enable = false

[database]
connection = {database}

[cron_trigger]
enabled = false
"""


class ThreeProcessMistral(Started):
    """Mistral's API, engine and `executors` executors as separate processes, for as long as the context lasts.

    `env` is added to the environment of all of them, and so of the actions. Each is a Child, whose `kill()` also hits
    the worker that the service forked. At the end all are killed without grace: what they leave is removed anyway.
    """

    def __init__(self, folder: Path, *, env: Mapping[str, str] | None = None, executors: int = 1) -> None:
        self.port = free_port()
        self.api: Child
        self.engine: Child
        self.executors: list[Child] = []
        self._folder = folder
        self._env = dict(env or {})
        self._wanted_executors = executors
        self._name = f"vimmon-test-{secrets.token_hex(6)}"
        self.database_url = ""
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v2"

    def start(self) -> Self:
        """Start all, and return when workflows can run. ServerDidNotStart, with the reason, if they cannot."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            database = make_url(stack.enter_context(fresh_postgres_database())).set(drivername="postgresql+psycopg2")
            self.database_url = database.render_as_string(hide_password=False)
            self._broker = stack.enter_context(broker())
            stack.callback(self._remove_queues)
            self.api = self._launch(stack, "api")
            for _ in range(self._wanted_executors):
                self.executors.append(self._launch(stack, "executor", f"executor-{len(self.executors) + 1}"))
            self._make_tables()  # while those start: they do not touch the database by themselves; the engine does
            self.engine = self._launch(stack, "engine")
            self.engine.wait_ready(lambda: self._listens("engine"), START_TIMEOUT_S)
            for number, executor in enumerate(self.executors, start=1):
                self._wait_executor(executor, number)
            self.api.wait_ready(lambda: mistral_works(self.url), START_TIMEOUT_S)
            self._stack = stack.pop_all()
        return self

    def stop(self) -> None:
        self._stack.close()

    def start_executor(self, *, env: Mapping[str, str] | None = None) -> Child:
        """One more executor, with `env` added to its environment; it takes actions when this returns."""
        number = len(self.executors) + 1
        executor = self._launch(self._stack, "executor", f"executor-{number}", env)
        self.executors.append(executor)
        self._wait_executor(executor, number)
        return executor

    def restart_engine(self, *, env: Mapping[str, str]) -> Child:
        """Another engine in the place of the old one, with `env` added to its environment; it works on return."""
        self.engine.kill()
        self.engine.stop()
        self.engine = self._launch(self._stack, "engine", env=env)
        self.engine.wait_ready(lambda: self._listens("engine") and mistral_works(self.url), START_TIMEOUT_S)
        return self.engine

    def _launch(self, stack: ExitStack, server: str, name: str = "", env: Mapping[str, str] | None = None) -> Child:
        name = name or server
        command = [sys.executable, "-m", "mistral.cmd.launch", "--server", server, "--config-file", self._config(name)]
        child = Child(name, command, self._folder, env={**self._env, **(env or {})})
        stack.callback(child.stop)
        stack.callback(child.kill)
        return child

    def _config(self, name: str) -> str:
        config = self._folder.absolute() / f"{name}.conf"
        config.write_text(
            CONFIG.format(
                transport_url=service_url("VIMMON_TEST_RABBITMQ_URL").replace("amqp://", "rabbit://", 1),
                name=self._name,
                queue_ttl_s=QUEUE_TTL_S,
                port=self.port,
                executor=name,
                database=self.database_url,
            )
        )
        return str(config)

    def _make_tables(self) -> None:
        program = Path(sys.executable).parent / "mistral-db-manage"
        command = [str(program), "--config-file", self._config("db-manage"), "upgrade", "head"]
        subprocess.run(command, check=True, capture_output=True, timeout=START_TIMEOUT_S)

    def _wait_executor(self, executor: Child, number: int) -> None:
        executor.wait_ready(lambda: self._listens(f"executor.executor-{number}"), START_TIMEOUT_S)

    def _listens(self, queue: str) -> bool:
        """Whether somebody takes messages from `queue` (without the name they all begin with)."""
        with self._broker.channel() as channel:
            try:
                return bool(channel.queue_declare(f"{self._name}-{queue}", passive=True).consumer_count)
            except NotFound:
                return False

    def _remove_queues(self) -> None:
        numbers = range(1, len(self.executors) + 1)
        topics = ["engine", "engine.0.0.0.0", "executor", *(f"executor.executor-{number}" for number in numbers)]
        for topic in topics:
            with self._broker.channel() as channel, suppress(NotFound):
                channel.queue_delete(f"{self._name}-{topic}")
        with self._broker.channel() as channel, suppress(NotFound):
            channel.exchange_delete(self._name)
