"""Goes through all VIMs, a page at a time: first what Redis says of them, then what their rows want it to say.

In this order, so that a cache that is ahead of its row proves that the database lost what it had taken. One page is in
memory at a time, and of the VIMs nothing else is remembered than their ids.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from vimmon.conductor.cache import Said
from vimmon.lease.store import LeaseStore
from vimmon.registry.repair import Repair
from vimmon.registry.values import Expected

PAGE = 2000
SEPARATOR = "\0"  # no database keeps it in a text
BULK = 500  # VIMs in one command to Redis, which serves nobody else meanwhile


@dataclass(frozen=True)
class Page:
    """`said` was read at `as_of_ms` of Redis's clock or later, and before `rows`. A VIM that was not known yet is
    missing in it."""

    number: int
    as_of_ms: int
    said: Mapping[str, Said] = field(repr=False)
    rows: Sequence[Expected] = field(repr=False)


class Walk:
    """Raises redis's own errors and DatabaseUnreachable; the next walk begins anew."""

    def __init__(self, leases: LeaseStore, repair: Repair, *, page: int = PAGE) -> None:
        self._leases = leases
        self._repair = repair
        self._page = page
        self._known: list[str] = []  # the ids of each page of the last walk that came to its end, as one text

    def pages(self) -> Iterator[Page]:
        """Every VIM once; the last pages have those, too, that came since the last walk."""
        known = self._known or self._packed(self._repair.ids())
        found: list[str] = []
        after: str | None = None
        for number in count():
            last = number + 1 >= len(known)
            some = known[number].split(SEPARATOR) if number < len(known) else []
            most = len(some) + self._page
            as_of_ms, said = self._leases.now_ms(), self._said(some)
            rows = self._repair.expected(after=after, until=None if last else some[-1], most=most)
            found += self._packed([row[0] for row in rows])
            yield Page(number, as_of_ms, said, rows)
            if last and len(rows) < most:
                break
            after = rows[-1][0] if last else some[-1]
        self._known = found

    def _packed(self, vim_ids: Sequence[str]) -> list[str]:
        """A third of the memory that a list takes, and no holes in it when the rest of the page is gone."""
        most = 2 * self._page  # a page may grow so far before it becomes two
        if len(vim_ids) <= most:
            return [SEPARATOR.join(vim_ids)] if vim_ids else []
        starts = range(0, len(vim_ids), self._page)
        return [SEPARATOR.join(vim_ids[start : start + self._page]) for start in starts]

    def _said(self, vim_ids: Sequence[str]) -> dict[str, Said]:
        said: dict[str, Said] = {}
        for start in range(0, len(vim_ids), BULK):
            some = vim_ids[start : start + BULK]
            said |= zip(some, self._leases.values(some), strict=True)
        return said
