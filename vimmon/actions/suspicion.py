"""Whether the prober itself is the suspect: all its VIMs fail at once, and it is likelier that it is cut off than that
they are all down.

While that is so, no VIM is called UNREACHABLE that was not so before; if it lasts, they are UNKNOWN. One VIM that can
be reached clears it. And as long as nobody has been reached since a VIM began to fail, nobody knows which of the two it
is: such a VIM waits, and some that were reached last are asked at once. With fewer VIMs than `LEAST` nobody is
suspected: two clouds may well be down together.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice

LEAST = 5
WITNESSES = 4  # with the one that fails, as many as make a suspicion


@dataclass(frozen=True)
class Doubt:
    """What a monitor must know of it. `lasting`: so long that its VIM's status is not known any more."""

    reason: str
    lasting: bool


class Suspicion:
    """Fed with the latest outcome of each VIM. Times are of one monotonic clock."""

    def __init__(self, *, lasting_s: float) -> None:
        self._lasting_s = lasting_s
        self._known: set[str] = set()
        self._reached: dict[str, None] = {}  # who was reached last time; those of whom `saw` was told latest are last
        self._latest: deque[str] = deque(
            maxlen=4 * WITNESSES
        )  # whom a reply came from; some of them may have failed since
        self._waiting: dict[str, float] = {}  # since when each fails; nobody was reached after that
        self._all_since: float | None = None
        self._about_all: Doubt | None = None
        self._about_waiting: Doubt | None = None
        self._touched: set[str] = set()
        # Nobody is in doubt, or about to be. So it is nearly always, and it is asked with every probe.
        self._calm = True

    @property
    def calm(self) -> bool:
        """Nobody is in doubt, or about to be: who is `reached_again` changes nothing."""
        return self._calm

    @property
    def degraded(self) -> bool:
        """Whether the prober is the suspect, as far as it was reconsidered."""
        return self._about_all is not None

    def was_reached(self, vim_id: str) -> bool:
        """Whether a VIM was reached when it was asked last."""
        return vim_id in self._reached

    def reached_again(self, vim_ids: Iterable[str]) -> None:
        """Only while all is `calm`, and of VIMs that were reached before: it is noted that they were reached."""
        self._latest.extend(vim_ids)

    def saw(self, vim_id: str, reached: bool, now: float) -> list[str]:
        """Whom to ask at once: this one has begun to fail, and it is its word against the prober's."""
        if reached and self._calm and vim_id in self._reached:
            self.reached_again([vim_id])
            return []
        begins = not reached and (vim_id in self._reached or vim_id not in self._known)
        if reached:
            self._touched.update(self._waiting)
            self._waiting.clear()
        elif begins:
            self._waiting[vim_id] = now
        self._touched.add(vim_id)
        self._known.add(vim_id)
        self._reached.pop(vim_id, None)
        if reached:
            self._reached[vim_id] = None
            self._latest.append(vim_id)
        self._judge(now)
        if not begins or len(self._known) < LEAST or len(self._waiting) > WITNESSES:
            return []
        latest = (each for each in reversed(self._latest) if each in self._reached)
        return list(islice(dict.fromkeys(chain(latest, reversed(self._reached))), WITNESSES))

    def forget(self, vim_id: str, now: float) -> None:
        self._known.discard(vim_id)
        self._reached.pop(vim_id, None)
        self._waiting.pop(vim_id, None)
        self._judge(now)

    def reconsider(self, now: float) -> list[str]:
        """The VIMs whose doubt may be another than when this was last asked."""
        if self._calm and not self._touched:
            return []
        about_all = about_waiting = None
        if self._all_since is not None:
            lasting = now - self._all_since >= self._lasting_s
            about_all = Doubt("prober degraded: every VIM that this executor watches fails at once", lasting)
        if self._waiting and len(self._known) >= LEAST:
            lasting = now - next(iter(self._waiting.values())) >= self._lasting_s
            about_waiting = Doubt("this executor has reached no VIM since this one failed", lasting)
        if about_all != self._about_all:
            self._touched.update(self._known)
        if about_waiting != self._about_waiting:
            self._touched.update(self._waiting)
        self._about_all, self._about_waiting = about_all, about_waiting
        self._reckon()
        touched = list(self._touched)
        self._touched.clear()
        return touched

    def doubt_of(self, vim_id: str) -> Doubt | None:
        """None: what was found of this VIM counts. As far as it was reconsidered."""
        return self._about_all or (self._about_waiting if vim_id in self._waiting else None)

    def _judge(self, now: float) -> None:
        if self._reached or len(self._known) < LEAST:
            self._all_since = None
        elif self._all_since is None:
            self._all_since = now
        self._reckon()

    def _reckon(self) -> None:
        self._calm = not self._waiting and self._all_since is None and self._about_all is self._about_waiting is None
