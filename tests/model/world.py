"""A whole world: servers, conductors, executors, Mistral, Redis, a database; what may befall it, and how it settles."""

from collections.abc import Callable, Iterator

from tests.model.clockwork import Process, Steps, Task
from tests.model.conductor import Conductor, Upkeep
from tests.model.executor import Executor
from tests.model.goals import stale_writes, unsettled
from tests.model.guards import Guard, SilentMonitor
from tests.model.jobs import Mistral, Worker
from tests.model.parts import KEYS, Parts, grant
from tests.model.queueing import enqueue_start, enqueue_stop
from tests.model.reconciler import Reconciler
from tests.model.redis import Redis
from vimmon.actions.monitor import Monitor
from vimmon.errors import VimChanged, VimNotFound
from vimmon.lease.model import Lease
from vimmon.vim import VimStatus

SETTLED_WITHIN_S = 3 * 3600.0  # starts that were in vain are given up to an hour, a lease that nobody wants 15 minutes
LOOK_EVERY_S = 20.0
SETTLED_FOR_S = 400.0  # in which everything is done once that is done now and then


class World(Parts):
    """Everything runs, and nothing is registered."""

    def __init__(
        self, missing: frozenset[Guard] = frozenset(), *, executors: int = 2, conductors: int = 2, reconcilers: int = 1
    ) -> None:
        super().__init__(missing)
        self.executors: list[Executor] = []
        self.mistral = Mistral(self, self.executors)
        self.monitor: type[Monitor] = SilentMonitor if Guard.SAYING_AGAIN in missing else Monitor
        self.conductors = [Conductor(self) for _ in range(conductors)]
        self.workers = [Worker(self, self.mistral)]
        self.upkeeps = [Upkeep(self)]
        self.reconcilers = [Reconciler(self, after_s=3.0 * number) for number in range(reconcilers)]
        self.servers: list[Process] = []
        self.fate = Process("fate")
        for _ in range(executors):
            self.new_executor()
        self.clockwork.run(1)

    @property
    def processes(self) -> list[Process]:
        everyone = [*self.conductors, *self.executors, *self.workers, *self.upkeeps, *self.reconcilers, *self.servers]
        return [process for process in everyone if process.alive]

    def run(self, seconds: float) -> None:
        self.clockwork.run(seconds)
        self.check()

    def step(self, task: Task, steps: int = 1) -> None:
        """Some steps of one task, while time and everybody else stand still."""
        for _ in range(steps):
            self.clockwork.step(task)
        self.check()

    def check(self) -> None:
        """Notes the goals that were missed so far."""
        self.violations += [why for why in stale_writes(self.db.tables.stored) if why not in self.violations]

    # Servers: registry/registry.py, each step of it a place to be stopped at

    def register(self) -> str:
        vim_id, action_id = self.new("vim-"), self.new("action-")
        self.truth[vim_id] = VimStatus.REACHABLE

        def steps() -> Steps:
            self.db.register(vim_id, action_id)
            yield from self._follow(server, vim_id, Lease(1, action_id), stop=None)
            return 0.0

        server = self._serve(steps)
        return vim_id

    def change(self, vim_id: str) -> Process:
        """Another auth_url."""
        action_id = self.new("action-")

        def steps() -> Steps:
            try:
                old = self.db.get(vim_id)
                yield None
                new = self.db.change(vim_id, expected_generation=old.generation, action_id=action_id)
            except (VimChanged, VimNotFound):
                return 0.0
            yield from self._follow(server, vim_id, Lease(new.generation, action_id), stop=old.action_id)
            return 0.0

        server = self._serve(steps)
        return server

    def deregister(self, vim_id: str) -> Process:
        def steps() -> Steps:
            try:
                self.db.get(vim_id)
                yield None
                stop, generation = self.db.deregister(vim_id)
            except VimNotFound:
                return 0.0
            yield from self._follow(server, vim_id, Lease(generation, None), stop=stop)
            return 0.0

        server = self._serve(steps)
        return server

    def _serve(self, steps: Callable[[], Steps]) -> Process:
        self.servers = [server for server in self.servers if server.alive][-3:]
        server = Process(self.new("server-"))
        self.servers.append(server)
        self.clockwork.add(server, "call", steps, once=True)
        return server

    def _follow(self, server: Process, vim_id: str, lease: Lease, *, stop: str | None) -> Steps:
        """Registry._follow"""
        redis = self.link(server)
        self.note(f"{server.name}: {vim_id} has the lease {lease}")
        yield None
        redis(grant(self, vim_id, lease))
        if lease.action_id is not None:
            yield None
            redis(enqueue_start(vim_id, lease.generation))
        if stop is not None:
            yield None
            redis(enqueue_stop(vim_id, stop))
        return 0.0

    # What befalls it

    def new_executor(self) -> Executor:
        executor = Executor(self, self.monitor)
        self.executors.append(executor)
        return executor

    def kill(self, process: Process) -> None:
        """It is gone between two steps. The supervisor starts another, but for executors, which come back later."""
        process.alive = False
        self.note(f"{process.name} is killed")
        if isinstance(process, Conductor):
            self.conductors[self.conductors.index(process)] = Conductor(self)
        elif isinstance(process, Worker):
            self.workers[self.workers.index(process)] = Worker(self, self.mistral)
        elif isinstance(process, Upkeep):
            self.upkeeps[self.upkeeps.index(process)] = Upkeep(self)
        elif isinstance(process, Reconciler):
            self.reconcilers[self.reconcilers.index(process)] = Reconciler(self)

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Has something happen of itself."""

        def steps() -> Steps:
            do()
            return 0.0
            yield None

        self.clockwork.add(self.fate, "later", steps, after_s=seconds, once=True)

    def run_twice(self, job_id: str) -> None:
        """A worker that was taken for dead carries a job out beside the one that has it now."""
        orphan = Worker(self, self.mistral)
        self.clockwork.tasks = [task for task in self.clockwork.tasks if task.process is not orphan]
        job = self.redis.data.jobs[job_id]
        self.clockwork.add(orphan, "orphan", lambda: orphan.carry_out(job), once=True)
        self.workers.append(orphan)

    def heal(self) -> None:
        """No more faults: whoever was stopped goes on, whatever was away is back, an executor lives."""
        self.redis.away = self.db.away = self.mistral.away = False
        self.mistral.delay_s, self.mistral.copies = 0.5, 1
        for process in self.processes:
            process.paused = process.cut = process.deaf = False
        if not any(executor.alive for executor in self.executors):
            self.new_executor()

    # How it ends

    def unsettled(self) -> list[str]:
        return [*unsettled(self, self.executors), *self.mistral.unsettled()]

    def settle(self, within_s: float = SETTLED_WITHIN_S) -> None:
        """Runs on without faults until it is settled, and for a while after that; or says why it is not."""
        self.heal()
        deadline = self.now() + within_s
        since = None
        while since is None or self.now() - since < SETTLED_FOR_S:
            self.run(LOOK_EVERY_S)
            why = self.unsettled()
            since = None if why else self.now() if since is None else since
            if why and self.now() > deadline:
                self.violate(f"not settled within {within_s:g} s: {'; '.join(why)}")
                return

    def stay(self, for_s: float = 3600.0) -> None:
        """A settled world stays so, and no generation grows."""
        before = {row.vim_id: row.generation for row in self.db.living()}
        self.run(for_s)
        if self.unsettled():
            self.violate(f"settled, and {for_s:g} s later not: {'; '.join(self.unsettled())}")
        after = {row.vim_id: row.generation for row in self.db.living()}
        if after != before:
            self.violate(f"generations grew in a settled world: {before}, {for_s:g} s later {after}")

    def tasks_of(self, process: Process) -> Iterator[Task]:
        return (task for task in self.clockwork.tasks if task.process is process)

    def holder(self, vim_id: str) -> Executor:
        """The living executor that holds a VIM."""
        return next(one for one in self.executors if one.alive and vim_id in one.held)


__all__ = ["KEYS", "Redis", "World"]
