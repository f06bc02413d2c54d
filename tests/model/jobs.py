"""Workers that carry out the jobs, and Mistral: it starts actions late, twice or never, and stops none.

Mirrors `mistral/jobs.py`, and what `mistral/client.py` is answered.
"""

from dataclasses import dataclass, field

from tests.model.clockwork import NEVER, Away, Block, Process, Steps
from tests.model.executor import Executor, assignment
from tests.model.parts import Parts
from tests.model.queueing import restart
from tests.model.redis import Job, Redis
from vimmon.actions.monitor import Assignment
from vimmon.errors import DatabaseUnreachable
from vimmon.lease.model import Lease
from vimmon.mistral.queue import RETRY_AFTER_S, START, SWEEP
from vimmon.mistral.sweep import Execution, Existing, Watched, sweep

REQUEUE_S = 63.0  # how long RQ takes to find out that a worker died


@dataclass
class Mistral:
    """`delay_s` and `copies`: when an action begins after its execution was created, and how often."""

    parts: Parts
    executors: list[Executor]
    away: bool = False
    delay_s: float = 0.5
    copies: int = 1
    workflows: set[str] = field(default_factory=set)
    executions: dict[str, str] = field(default_factory=dict)  # execution id → vim_id
    queue: list[tuple[float, Assignment]] = field(default_factory=list)
    turn: int = 0

    def __post_init__(self) -> None:
        self.parts.clockwork.add(Process("mistral"), "dispatch", self._dispatch)

    def _here(self) -> None:
        if self.away:
            raise Away

    def ensure_workflow(self, vim_id: str) -> None:
        self._here()
        self.workflows.add(vim_id)

    def start(self, wanted: Assignment) -> str:
        """The same id given twice: the execution that there is."""
        self._here()
        if wanted.vim_id not in self.workflows:
            raise Away  # it was removed meanwhile: refused, and tried again
        if wanted.action_id not in self.executions:
            self.executions[wanted.action_id] = wanted.vim_id
            self.queue += [(self.parts.now() + self.delay_s, wanted)] * self.copies
        return wanted.action_id

    def delete_execution(self, execution_id: str) -> None:
        """What runs goes on, and what is about to run runs all the same."""
        self._here()
        self.executions.pop(execution_id, None)

    def executions_of(self, vim_id: str) -> list[str]:
        self._here()
        return [one for one, of in self.executions.items() if of == vim_id]

    def delete_workflow(self, vim_id: str) -> None:
        self._here()
        self.workflows.discard(vim_id)

    def existing(self) -> Existing:
        self._here()
        executions = tuple(Execution(one, of, "RUNNING") for one, of in sorted(self.executions.items()))
        return Existing(frozenset(self.workflows), executions)

    def unsettled(self) -> list[str]:
        """What it has that nobody wants, has not, or has yet to do."""
        wanted = {row.action_id: row.vim_id for row in self.parts.db.living()}
        found = [f"{one.action_id} has yet to begin" for _, one in self.queue]
        if self.executions != wanted:
            found.append(f"Mistral has the executions {self.executions}, and {wanted} are wanted")
        if self.workflows != set(wanted.values()):
            found.append(f"Mistral has the workflows {self.workflows}")
        return found

    def _dispatch(self) -> Steps:
        def when() -> float:
            return min((due for due, _ in self.queue), default=NEVER) if self._living() else NEVER

        while True:
            yield Block(when)
            due, wanted = min(self.queue, key=lambda one: one[0])
            living = self._living()
            if due <= self.parts.now() and living:
                self.queue.remove((due, wanted))
                self.turn += 1
                executor = living[self.turn % len(living)]
                executor.inbox.append(wanted)
                self.parts.note(f"mistral: {wanted.action_id} begins in {executor.name}")

    def _living(self) -> list[Executor]:
        return [executor for executor in self.executors if executor.alive]


class Worker(Process):
    """RQ's worker. A job in its hand stays in Redis until it is done."""

    def __init__(self, parts: Parts, mistral: Mistral) -> None:
        super().__init__(parts.new("worker-"))
        self.parts, self.mistral = parts, mistral
        self.redis = parts.link(self)
        self.job: Job | None = None  # in its hand
        parts.clockwork.add(self, "work", self._work)

    def _work(self) -> Steps:
        yield Block(lambda: min((self._due(job) for job in self.parts.redis.data.jobs.values()), default=NEVER))
        taken = self.redis(self._take)
        if taken is None:
            return 0.0
        job_id, job = taken
        self.job = job
        yield None
        try:
            yield from self.carry_out(job)
        except (Away, DatabaseUnreachable):
            job.due = self.parts.now() + RETRY_AFTER_S[min(job.tries, len(RETRY_AFTER_S) - 1)]
            job.tries, job.worker = job.tries + 1, None
            self.job = None
        else:
            self.job = None
            self.redis(lambda redis: redis.data.jobs.pop(job_id, None))
        return 0.0

    def _due(self, job: Job) -> float:
        if job.worker is None:
            return job.due
        if isinstance(job.worker, Worker) and job.worker.alive and job.worker.job is job:
            return NEVER
        job.abandoned = self.parts.now() if job.abandoned is None else job.abandoned
        return job.abandoned + REQUEUE_S

    def _take(self, redis: Redis) -> tuple[str, Job] | None:
        for job_id, job in sorted(redis.data.jobs.items()):
            if self._due(job) <= self.parts.now():
                job.worker, job.abandoned = self, None
                return job_id, job
        return None

    def carry_out(self, job: Job) -> Steps:
        if job.function == START and isinstance(job.argument, int):
            yield from self._start(job.vim_id, job.argument)
        elif job.function == SWEEP:
            yield from self._sweep()
        elif not isinstance(job.argument, int):
            yield from self._stop(job.vim_id, job.argument)
        return 0.0

    def _start(self, vim_id: str, generation: int) -> Steps:
        """jobs.carry_out_start"""
        wanted = self.parts.db.wanted(vim_id)
        if wanted is None or wanted.action_id is None or wanted.generation != generation:
            if wanted is None or wanted.deleted is not None:
                yield None
                yield from self._stop(vim_id, None)
            return 0.0
        yield None
        self.mistral.ensure_workflow(vim_id)
        yield None
        execution_id = self.mistral.start(assignment(vim_id, Lease(generation, wanted.action_id)))
        yield None
        if not self.parts.db.record_execution(vim_id, generation=generation, execution_id=execution_id):
            yield None
            yield from self._stop(vim_id, wanted.action_id)
        return 0.0

    def _stop(self, vim_id: str, action_id: str | None) -> Steps:
        """jobs.carry_out_stop"""
        if action_id is not None:
            self.mistral.delete_execution(action_id)
            yield None
        if not self._is_gone(vim_id):
            return 0.0
        yield None
        executions = self.mistral.executions_of(vim_id)
        yield None
        if self._is_gone(vim_id):
            for execution_id in executions:
                yield None
                self.mistral.delete_execution(execution_id)
            yield None
            self.mistral.delete_workflow(vim_id)
            yield None
            self.parts.db.record_clean(vim_id)
        return 0.0

    def _is_gone(self, vim_id: str) -> bool:
        wanted = self.parts.db.wanted(vim_id)
        return wanted is None or wanted.deleted is not None

    def _sweep(self) -> Steps:
        """jobs.carry_out_sweep"""
        existing = self.mistral.existing()
        yield None
        rows = {row.vim_id: row for row in self.parts.db.glance()}
        living = {
            vim_id: Watched(row.action_id, row.execution_id, row.awaited_s)
            for vim_id, row in rows.items()
            if not row.deleted
        }
        found = sweep(existing, living)
        for execution_id in found.executions:
            yield None
            self.mistral.delete_execution(execution_id)
        for vim_id in found.leftovers:
            yield None
            yield from self._stop(vim_id, None)
        for vim_id, why in found.restarts.items():
            yield None
            to = rows[vim_id].generation + 1
            yield from restart(self.parts, self.redis, rows[vim_id], to=to, reason=why, in_vain=True)
        return 0.0
