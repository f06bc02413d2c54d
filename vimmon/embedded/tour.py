"""How a demonstration is told and checked: in steps, each of which waits for what it claims, or fails."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from redis.exceptions import RedisError

from vimmon.errors import Unreachable, VimmonError
from vimmon.vim import Frozen, Vim

POLL_S = 0.2


class Narrator(Protocol):
    """Shows the tour to whoever watches."""

    def say(self, text: str) -> None:
        """A line of its own."""

    def begin(self, number: int, title: str) -> None:
        """A step begins."""

    def saw(self, text: str) -> None:
        """Something that was claimed was seen."""

    def show(self, vims: Sequence[Vim]) -> None:
        """The VIMs as they are now; often."""

    def end(self, step: "Step") -> None:
        """A step has ended."""


class Step(Frozen):
    """What became of a step. `failure` says what was expected and what was seen instead."""

    number: int
    title: str
    seconds: float
    saw: tuple[str, ...]
    failure: str | None = None


class StepFailed(VimmonError):
    """What a step claimed did not come."""


class Tour:
    """`look` reads the VIMs for the table; it is called while waiting."""

    def __init__(self, narrator: Narrator, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps: list[Step] = []
        self.look: Callable[[], Sequence[Vim]] = list
        self._narrator = narrator
        self._clock = clock
        self._saw: list[str] = []

    @property
    def ok(self) -> bool:
        return all(step.failure is None for step in self.steps)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step of the tour. What fails in it is told, kept in `steps`, and raised as StepFailed."""
        number, started = len(self.steps) + 1, self._clock()
        self._saw = []
        self._narrator.begin(number, title)
        failure: Exception | None = None
        try:
            yield
        except (VimmonError, RedisError) as error:
            failure = error
        step = Step(
            number=number,
            title=title,
            seconds=round(self._clock() - started, 1),
            saw=tuple(self._saw),
            failure=str(failure) if failure else None,
        )
        self.steps.append(step)
        self._narrator.end(step)
        if failure is not None:
            raise StepFailed(f"step {number} ({title}) failed: {failure}") from failure

    def saw(self, text: str) -> None:
        self._saw.append(text)
        self._narrator.saw(text)

    def expect(self, claim: str, missing: Callable[[], str | None], *, within_s: float) -> None:
        """Waits until `missing` finds nothing missing. Raises StepFailed that says what it found to the end."""
        deadline = self._clock() + within_s
        pause = threading.Event()
        while True:
            try:
                found = missing()
                self._narrator.show(self.look())
            except (Unreachable, RedisError) as trouble:
                found = str(trouble)
            if found is None:
                return
            if self._clock() > deadline:
                raise StepFailed(f"expected within {within_s:g} s: {claim}; seen: {found}")
            pause.wait(POLL_S)
