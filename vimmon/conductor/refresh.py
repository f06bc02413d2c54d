"""When the keys in Redis are to be written anew though nothing is wrong with them: so that they live on."""

from collections.abc import Callable


class Refresh:
    """Whose keys are to be written anew so that they live on: those of each page once in `every_s`, some in each pass.

    A page whose turn was missed has it in the next pass; what expired all the same is missed there, and written.
    """

    def __init__(self, every_s: float, pass_s: float) -> None:
        self._turns = max(1, int(every_s / pass_s))
        self._turn_s = every_s / self._turns
        self._done: int | None = None  # the last turn; None: everybody's keys may be old
        self._now = 0

    def due(self, now: float) -> Callable[[int], bool]:
        """Whether it is a page's turn, by its number."""
        self._now = int(now / self._turn_s)
        if self._done is None or self._now - self._done >= self._turns:
            return lambda number: True
        turns = {turn % self._turns for turn in range(self._done + 1, self._now + 1)}
        return lambda number: number % self._turns in turns

    def done(self) -> None:
        """All whose turn it was have been written."""
        self._done = self._now
