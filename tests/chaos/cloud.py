"""A ground with a real Mistral on it: API, engine, and executors, each of which can be cut off from Redis by itself."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from keystoneauth1.session import Session
from mistralclient.api.base import APIException
from mistralclient.api.client import client
from mistralclient.api.v2.client import Client

from tests.chaos.ground import Ground, answers
from tests.chaos.rows import Scale, until
from tests.chaos.valve import Valve
from tests.support.gate import Gate
from tests.support.mistral import ThreeProcessMistral
from vimmon.embedded.process import Child
from vimmon.vim import Vim, VimType

TARGETS = 400
BROUGHT_UP_S = 60.0


class Executor:
    """A Mistral executor, its own way to Redis, and the name that its id begins with."""

    def __init__(self, name: str, child: Child, valve: Valve) -> None:
        self.name, self.child, self.valve = f"{name}:", child, valve

    def log(self) -> str:
        return self.child.log.read_text()


class Cloud(Ground):
    """One executor lives when a row begins, and when it ends. Conductors reach Mistral through `gate` and `door`."""

    def __init__(self, folder: Path, scale: Scale, stack: ExitStack) -> None:
        super().__init__(folder, scale, stack, targets=scale.count(TARGETS, 20))
        valve = stack.enter_context(Valve(self.redis_server.port))
        env = {key: value for key, value in self.env.items() if key not in ("VIMMON_DATABASE_URL", "PYTHONPATH")}
        if scale.short:
            env["OS_OSLO_MESSAGING_RABBIT__HEARTBEAT_TIMEOUT_THRESHOLD"] = "6"  # Mistral's own time, 60 by default
        env |= {"VIMMON_REDIS_URL": valve.redis_url, "VIMMON_EXECUTOR_NAME": "executor-1"}
        self.mistral = stack.enter_context(ThreeProcessMistral(folder / "mistral", env=env))
        self.executor = Executor("executor-1", self.mistral.executors[0], valve)
        self.door = stack.enter_context(Valve(self.mistral.port))
        self.gate = stack.enter_context(Gate(self.door.port))
        self.env["VIMMON_MISTRAL_URL"] = self.gate.url
        self.api: Client = client(
            mistral_url=self.mistral.url, enforce_raw_definitions=True, session=Session(timeout=30)
        )
        self.conductors = [self.conductor(wait=False) for _ in range(2)]
        for conductor in self.conductors:
            conductor.wait_ready(lambda one=conductor: answers(one), BROUGHT_UP_S)  # type: ignore[misc]  # mypy: default

    def another_executor(self) -> Executor:
        name = f"executor-{len(self.mistral.executors) + 1}"
        valve = self.stack.enter_context(Valve(self.redis_server.port))
        env = {"VIMMON_REDIS_URL": valve.redis_url, "VIMMON_EXECUTOR_NAME": name}
        return Executor(name, self.mistral.start_executor(env=env), valve)

    def brought_up(self, count: int, *, name: str) -> list[Vim]:
        """VIMs that an operator registered, REACHABLE and held by the one executor."""
        vims = [self.register(f"{name}-{number}", number) for number in range(count)]
        ids = [vim.id for vim in vims]
        within_s = BROUGHT_UP_S + 2 * count  # not what is judged: a Mistral on a busy machine may be slow
        until(lambda: self.have_statuses(dict.fromkeys(ids, "REACHABLE")), within_s, "all REACHABLE")
        until(lambda: self.all_held(ids, by=self.executor.name), within_s, "all held")
        return vims

    def register(self, name: str, target: int) -> Vim:
        url = self.targets.url(target)
        return self.registry.register(name, url, type=VimType.GENERIC, probe=self.scale.probe).vim

    def settle(self) -> None:
        """Returns when nothing is left to do of what earlier rows de-registered."""
        until(lambda: not list(self.redis.scan_iter(match="rq:job:*")), BROUGHT_UP_S, "no job left")

    def held_by(self, executor: str) -> set[str]:
        """What a living executor holds, whether it is wanted or not."""
        return {vim_id for name, leases in self.held().items() if name.startswith(executor) for vim_id in leases}

    def clear(self, vims: list[Vim]) -> None:
        """De-registers them; the conductors do the rest while the next row begins."""
        for vim in vims:
            self.registry.deregister(vim.id)
        for number in range(len(self.targets.ports)):
            self.targets.start(number)

    def executions(self, vim_id: str) -> dict[str, str]:
        found = self.api.executions.list(workflow_name=f"vimmon.{vim_id}", fields=["id", "state"])
        return {execution.id: execution.state for execution in found}

    def actions(self, vim_id: str) -> int:
        """How many actions all executions of the VIM's workflow have made."""
        tasks = [task for execution in self.executions(vim_id) for task in self.api.tasks.list(execution)]
        return sum(len(self.api.action_executions.list(task.id)) for task in tasks)

    def has_workflow(self, vim_id: str) -> bool:
        try:
            self.api.workflows.get(f"vimmon.{vim_id}")
        except APIException as error:
            if error.error_code == 404:
                return False
            raise
        return True


@contextmanager
def cloud(folder: Path, scale: Scale) -> Iterator[Cloud]:
    with ExitStack() as stack:
        yield Cloud(folder, scale, stack)
