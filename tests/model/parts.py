"""What all parts of the model share: the clock, Redis, the database, which guards are missing, what was broken."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from tests.model.clockwork import Clockwork, Process
from tests.model.database import Database
from tests.model.guards import Guard
from tests.model.redis import Link, Redis
from tests.model.scripts import KEYS, advance
from vimmon.conductor.cache import Said
from vimmon.lease.model import CommittedStatus, Lease, parse_lease, parse_status
from vimmon.lease.store import Cached
from vimmon.settings import Settings
from vimmon.vim import VimStatus

__all__ = ["KEYS", "Parts", "grant", "read_cache"]


@dataclass
class Parts:
    """`truth`: what a probe of a VIM finds now. `violations`: goals that were missed, in words."""

    missing: frozenset[Guard] = frozenset()
    settings: Settings = field(default_factory=lambda: Settings(executor_name="model"))
    clockwork: Clockwork = field(default_factory=Clockwork)
    truth: dict[str, VimStatus] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.redis = Redis(self.now)
        self.db = Database(self.now, self.missing)
        self._numbers = count(1)

    def now(self) -> float:
        return self.clockwork.now

    def new(self, kind: str) -> str:
        """A name never used before."""
        return f"{kind}{next(self._numbers)}"

    def link(self, process: Process) -> Link:
        return Link(self.redis, process)

    def note(self, what: str) -> None:
        self.log.append(f"{self.now():8.2f} {what}")

    def violate(self, what: str) -> None:
        self.note(f"VIOLATED {what}")
        self.violations.append(f"at {self.now():g} s: {what}")

    def advance(
        self,
        redis: Redis,
        leases: dict[str, Lease],
        statuses: dict[str, CommittedStatus],
        *,
        as_of_ms: int,
    ) -> bool:
        """LeaseStore.advance; a lease that goes backwards is a goal missed. False: what was read is too old."""
        compare = Guard.COMPARE_AND_SET not in self.missing
        found = advance(redis, leases, statuses, as_of_ms=as_of_ms, compare=compare)
        for backwards in found or ():
            self.violate(f"a lease went backwards: {backwards}")
        return found is not None


def grant(parts: Parts, vim_id: str, lease: Lease) -> Callable[[Redis], bool]:
    """LeaseStore.grant, as a command."""
    return lambda redis: parts.advance(redis, {vim_id: lease}, {}, as_of_ms=redis.now_ms())


def read_values(vim_ids: list[str]) -> Callable[[Redis], dict[str, Said]]:
    """LeaseStore.values, as a command."""

    def read(redis: Redis, key: str) -> bytes | None:
        text = redis.get(key)
        return None if text is None else text.encode()

    return lambda redis: {
        vim_id: (read(redis, KEYS.lease(vim_id)), read(redis, KEYS.status(vim_id))) for vim_id in vim_ids
    }


def read_cache(vim_ids: list[str]) -> Callable[[Redis], dict[str, Cached]]:
    """LeaseStore.read, as a command."""
    return lambda redis: {
        vim_id: Cached(parse_lease(redis.get(KEYS.lease(vim_id))), parse_status(redis.get(KEYS.status(vim_id))))
        for vim_id in vim_ids
    }
