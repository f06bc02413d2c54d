"""Whether the prober itself is the suspect: all its VIMs fail at once, and it is likelier that it is cut off than that
they are all down.

While that is so, no VIM is called UNREACHABLE that was not so before; if it lasts, they are UNKNOWN. One VIM that can
be reached clears it. With fewer VIMs than `LEAST` nobody is suspected: two clouds may well be down together.
"""

from dataclasses import dataclass

LEAST = 5


@dataclass(frozen=True)
class Doubt:
    """What a monitor must know of it. `lasting`: so long that its VIM's status is not known any more."""

    reason: str
    lasting: bool


class Suspicion:
    """Fed with the latest outcome of each VIM. Times are of one monotonic clock."""

    def __init__(self, *, lasting_s: float) -> None:
        self._lasting_s = lasting_s
        self._reached: dict[str, bool] = {}
        self._count = 0  # of those that were reached
        self.since: float | None = None

    def saw(self, vim_id: str, reached: bool, now: float) -> None:
        self._count += reached - self._reached.get(vim_id, False)
        self._reached[vim_id] = reached
        self._judge(now)

    def forget(self, vim_id: str, now: float) -> None:
        self._count -= self._reached.pop(vim_id, False)
        self._judge(now)

    def doubt(self, now: float) -> Doubt | None:
        """None while there is no suspicion."""
        if self.since is None:
            return None
        lasting = now - self.since >= self._lasting_s
        return Doubt("prober degraded: every VIM that this executor watches fails at once", lasting)

    def _judge(self, now: float) -> None:
        if self._count or len(self._reached) < LEAST:
            self.since = None
        elif self.since is None:
            self.since = now
