"""Which few of a name's many addresses a probe tries: others than the last time, unless one of those was connected to.

So each has its turn, and a VIM of which any address accepts is found at the latest when all have had theirs.
"""

from collections.abc import Hashable, Sequence

from vimmon.actions.probing.resolver import Address

TRIED_MAX = 6  # by one probe
NAMES_MAX = 10_000


class Shortlist:
    def __init__(self) -> None:
        self._next: dict[Hashable, int] = {}  # where the next probe begins; only for names with more than it can try

    def of(self, name: Hashable, found: Sequence[Address]) -> Sequence[Address]:
        """Those to try now, out of what was found."""
        if len(found) <= TRIED_MAX:
            return found
        first = self._next.pop(name, 0)
        self._next[name] = first + TRIED_MAX
        if len(self._next) > NAMES_MAX:
            del self._next[next(iter(self._next))]
        first %= len(found)
        return [*found[first:], *found][:TRIED_MAX]

    def keep(self, name: Hashable) -> None:
        """One of those that were tried was connected to: they are tried again."""
        if name in self._next:
            self._next[name] -= TRIED_MAX
