"""What executions that do nothing but RUN cost a Mistral engine, with its look at their integrity, and without."""

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mistralclient.api.v2.client import Client
from sqlalchemy import Engine, create_engine, text

from benchmarks.cloud import Late, until
from benchmarks.copies import multiply
from benchmarks.measure import Meter, with_children
from tests.support.mistral import ThreeProcessMistral
from vimmon.mistral.workflow import INPUTS, workflow_input
from vimmon.probes import TcpProbe

PERIOD_S = 120.0  # Mistral looks at each execution that often, whatever execution_integrity_check_delay says
SETTLE_S = 15.0  # the first look comes 10 s after the start
AT_ONCE = 4
BY_API = 300  # executions; five to ten a second
NAME = "at-rest"
PROBE = TcpProbe(auth_url="http://192.0.2.1:5000/v3")
# The inputs of a monitor, and an action that waits as it does, without an executor's work.
DEFINITION = {"version": "2.0", NAME: {"input": list(INPUTS), "tasks": {"monitor": {"action": "std.async_noop"}}}}


@dataclass(frozen=True)
class Rest:
    """CPU of the engine, and of the database for all of Mistral, as shares of a core."""

    executions: int
    integrity: bool
    engine: float
    database: float

    def looks_ms(self, off: "Rest") -> tuple[float, float]:
        """What a look at one execution takes of the two, beside an engine that never looks."""
        share = PERIOD_S * 1000 / self.executions
        return (self.engine - off.engine) * share, (self.database - off.database) * share

    def with_(self, executions: int, off: "Rest") -> tuple[float, float]:
        """The shares of so many, if each look took as long as here."""
        engine_ms, database_ms = self.looks_ms(off)
        a_second = executions / PERIOD_S / 1000
        return off.engine + engine_ms * a_second, off.database + database_ms * a_second


class Resting:
    def __init__(self, mistral: ThreeProcessMistral, api: Client) -> None:
        self._mistral, self._api = mistral, api
        self._database: Engine = create_engine(mistral.database_url)
        api.workflows.create(json.dumps(DEFINITION))

    def close(self) -> None:
        self._database.dispose()

    def grow(self, executions: int) -> None:
        """Until so many RUN, if there were fewer: some through the API, the others as copies of their rows."""
        by_api = min(executions, max(BY_API, self.running()))
        self._create(by_api)
        if by_api < executions:
            multiply(self._database, executions)
            until(lambda: self.running() >= executions, f"{executions} executions RUNNING")

    def _create(self, executions: int) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._start, range(executions - self.running())))
        until(lambda: self.running() >= executions, f"{executions} executions RUNNING")

    def measure(self, *, integrity: bool, seconds: float) -> Rest:
        """What they cost while so much time passes. Raises Late where the engine did not do as it was told."""
        if not integrity:
            # A look that was planned before is still taken, and found needless: those two minutes do not count.
            with self._database.begin() as connection:
                connection.execute(text("DELETE FROM delayed_calls_v2"))
        time.sleep(SETTLE_S)
        number, parts = self.running(), {"engine": self._engine_pids, "database": self._database_pids}
        with Meter(parts) as meter:
            time.sleep(seconds)
        with self._database.connect() as connection:
            planned = int(connection.execute(text("SELECT count(*) FROM delayed_calls_v2")).scalar_one())
        if integrity != (planned >= number):
            raise Late(f"of {number} executions {planned} are to be looked at, with the check {integrity=}")
        return Rest(number, integrity, *(meter.used_s[part] / meter.wall_s for part in parts))

    def running(self) -> int:
        query = "SELECT count(*) FROM action_executions_v2 WHERE state = 'RUNNING'"
        with self._database.connect() as connection:
            return int(connection.execute(text(query)).scalar_one())

    def _start(self, _: int) -> None:
        vim_id, action_id, probe = str(uuid.uuid4()), str(uuid.uuid4()), PROBE.model_dump(mode="json")
        given = workflow_input(vim_id=vim_id, action_id=action_id, generation=1, probe=probe)
        self._api.executions.create(NAME, workflow_input=given)

    def _engine_pids(self) -> list[int]:
        return with_children(self._mistral.engine.pid)

    def _database_pids(self) -> list[int]:
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        with self._database.connect() as connection:
            return [int(pid) for (pid,) in connection.execute(text(query))]
