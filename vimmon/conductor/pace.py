"""How fast starts go, and how long one may take where many wait: no more is asked of Mistral than it carries out.

A start that is made anew while its forerunner still waits in Mistral's queue makes the queue longer, and comes later.
"""

from dataclasses import dataclass

from vimmon.conductor.verdict import Limits

WEIGHT = 0.3  # of the latest pass in the rate of arrivals
MARGIN = 2.0  # a start may take so many times as long as the queue before it


@dataclass(frozen=True, slots=True)
class Pace:
    """`tokens`: how many restarts may be made now; None before the first pass. `arrivals_per_s`: how fast monitors that
    were awaited have come; `awaited`: which have not; `most`: how many these were at most, since they became many."""

    tokens: float | None = None
    arrivals_per_s: float = 0.0
    awaited: frozenset[str] = frozenset()
    most: int = 0

    def refilled(self, passed_s: float, limits: Limits) -> float:
        if self.tokens is None:
            return limits.starts_burst
        return min(limits.starts_burst, self.tokens + passed_s * limits.starts_per_s)

    def queue_s(self, limits: Limits) -> float:
        """How long a start may take because of those before it: 0 for few, and where none arrives at all."""
        return MARGIN * self.most / self.arrivals_per_s if self._moves(limits) else 0.0

    def after(self, passed_s: float, *, arrived: int, awaited: frozenset[str], tokens: float, limits: Limits) -> "Pace":
        """The pace to remember, when so many of those that were awaited have arrived in this time."""
        latest = arrived / passed_s if passed_s > 0 else 0.0
        many = len(awaited) if len(awaited) > limits.starts_burst else 0
        most = max(many, self.most if self._moves(limits) else 0)
        return Pace(tokens, WEIGHT * latest + (1 - WEIGHT) * self.arrivals_per_s, awaited, most)

    def _moves(self, limits: Limits) -> bool:
        return self.arrivals_per_s * limits.start_grace_s >= 1
