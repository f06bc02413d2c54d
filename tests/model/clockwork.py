"""Virtual time, and who acts next: processes that can be paused and killed between any two steps of their tasks."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar

from vimmon.errors import DatabaseUnreachable

T = TypeVar("T")
NEVER = float("inf")
STEPS_MAX = 20_000  # without time going on: somebody turns in a circle


class Away(Exception):
    """Redis or Mistral does not answer, or the answer was lost: nobody knows whether it was done."""


@dataclass(frozen=True, slots=True)
class Block:
    """Nothing to do before `when()`, which is asked anew whenever somebody else has acted."""

    when: Callable[[], float]


Steps = Generator[Block | None, None, float]  # each `yield` is a place to be stopped at; returns the seconds to rest


@dataclass(eq=False)
class Process:
    """What is paused, killed and cut from Redis as one. `deaf`: the answer to its next command is lost."""

    name: str
    alive: bool = True
    paused: bool = False
    cut: bool = False
    deaf: bool = False


@dataclass(eq=False)
class Task:
    """Something a process does again and again, or once. Trouble with Redis or the database makes it begin anew."""

    name: str
    process: Process
    begin: Callable[[], Steps]
    due: float
    pause_s: float = 1.0
    once: bool = False
    steps: Steps | None = None
    block: Block | None = None

    def when(self) -> float:
        process = self.process
        if process.paused or not process.alive:
            return NEVER
        if self.steps is None:
            return self.due
        return self.block.when() if self.block else 0.0


@dataclass
class Clockwork:
    """Runs tasks in turn, one step each, and lets time go on when nobody has anything to do."""

    now: float = 0.0
    tasks: list[Task] = field(default_factory=list)

    def add(
        self,
        process: Process,
        name: str,
        begin: Callable[[], Steps],
        *,
        after_s: float = 0.0,
        pause_s: float = 1.0,
        once: bool = False,
    ) -> Task:
        task = Task(f"{process.name} {name}", process, begin, self.now + after_s, pause_s, once)
        self.tasks.append(task)
        return task

    def step(self, task: Task) -> None:
        """One step of a task, even where it would rest; nothing where it would for ever."""
        if task.when() == NEVER:
            return
        task.block = None
        if task.steps is None:
            task.steps = task.begin()
        try:
            task.block = next(task.steps)
        except StopIteration as end:
            self._rest(task, end.value)
        except (Away, DatabaseUnreachable):
            self._rest(task, task.pause_s)

    def _rest(self, task: Task, seconds: float) -> None:
        task.steps, task.due = None, NEVER if task.once else self.now + seconds

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        self.tasks = [task for task in self.tasks if task.process.alive and (task.steps or task.due < NEVER)]
        steps = 0
        while True:
            times = [task.when() for task in self.tasks]
            ready = [task for task, at in zip(self.tasks, times, strict=True) if at <= self.now]
            if ready:
                for task in ready:
                    self.step(task)
                steps += 1
                assert steps < STEPS_MAX, [task.name for task in ready]
                continue
            steps = 0
            upcoming = min(times, default=NEVER)
            if upcoming > end:
                break
            self.now = upcoming
        self.now = end
