"""A Redis in memory: strings, hashes, lists and sorted sets that expire, jobs, and every way to lose them.

Each method is one command, and atomic. The scripts are in `scripts`.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from tests.model.clockwork import Away, Process, T


@dataclass
class Job:
    """A job of RQ's: `worker` has it in hand; it is due at `due`. A job in the hand of a dead worker comes back."""

    function: str
    vim_id: str
    argument: str | int | None
    due: float
    tries: int = 0
    worker: Process | None = None
    abandoned: float | None = None

    def __deepcopy__(self, memo: object) -> "Job":
        return copy.copy(self)  # the worker in it stays the worker


@dataclass
class Data:
    strings: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    lists: dict[str, list[bytes]] = field(default_factory=dict)
    zsets: dict[str, dict[str, float]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    expires: dict[str, float] = field(default_factory=dict)

    def names(self) -> list[str]:
        return sorted((*self.strings, *self.hashes, *self.lists, *self.zsets))

    def drop(self, key: str) -> None:
        self.expires.pop(key, None)
        self.strings.pop(key, None)
        self.hashes.pop(key, None)
        self.lists.pop(key, None)
        self.zsets.pop(key, None)


class Redis:
    """`clock` is its time in seconds. `run_id` changes when it restarts or a replica takes its place."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.data = Data()
        self.away = False
        self._runs = count(1)
        self.run_id = ""
        self.restart(Data())

    def restart(self, data: Data) -> None:
        """With what it had saved, or a replica had got by then: anything from all to nothing."""
        self.data = data
        self.run_id = f"run-{next(self._runs)}"

    def snapshot(self) -> Data:
        return copy.deepcopy(self.data)

    def flush(self) -> None:
        self.data = Data()

    def time(self) -> float:
        return self.clock()

    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    # Whatever has expired is gone for every command.

    def _alive(self, key: str) -> None:
        expires = self.data.expires.get(key)
        if expires is not None and expires <= self.clock():
            self.data.drop(key)

    def get(self, key: str) -> str | None:
        self._alive(key)
        return self.data.strings.get(key)

    def set(self, key: str, value: str, *, ttl_s: float | None = None, nx: bool = False) -> bool:
        self._alive(key)
        if nx and key in self.data.strings:
            return False
        self.data.strings[key] = value
        self.data.expires.pop(key, None)
        if ttl_s is not None:
            self.data.expires[key] = self.clock() + ttl_s
        return True

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.data.drop(key)

    def exists(self, key: str) -> bool:
        self._alive(key)
        return key in {*self.data.strings, *self.data.hashes, *self.data.lists, *self.data.zsets}

    def expire(self, key: str, ttl_s: float) -> None:
        if self.exists(key):
            self.data.expires[key] = self.clock() + ttl_s

    def ttl_s(self, key: str) -> float | None:
        """How long it still lives; None where it does not, or would for ever."""
        self._alive(key)
        expires = self.data.expires.get(key)
        return None if expires is None else expires - self.clock()

    def hash(self, key: str) -> dict[str, str]:
        """HGETALL"""
        self._alive(key)
        return dict(self.data.hashes.get(key, {}))

    def hset(self, key: str, values: dict[str, str], *, ttl_s: float | None = None) -> None:
        self._alive(key)
        if values:
            self.data.hashes.setdefault(key, {}).update(values)
        if ttl_s is not None:
            self.expire(key, ttl_s)

    def hdel(self, key: str, *fields: str) -> None:
        self._alive(key)
        there = self.data.hashes.get(key, {})
        for one in fields:
            there.pop(one, None)
        if not there:
            self.data.drop(key)

    def range(self, key: str) -> list[bytes]:
        """LRANGE 0 -1"""
        self._alive(key)
        return [*self.data.lists.get(key, ())]

    def put(self, key: str, values: list[bytes]) -> None:
        """The list with this content; no list for none."""
        if values:
            self.data.lists[key] = values
        else:
            self.data.drop(key)

    def rpush(self, key: str, *values: bytes, ttl_s: float | None = None) -> None:
        self._alive(key)
        self.data.lists.setdefault(key, []).extend(values)
        if ttl_s is not None:
            self.expire(key, ttl_s)

    def zset(self, key: str) -> dict[str, float]:
        return dict(self.data.zsets.get(key, {}))

    def zadd(self, key: str, member: str, score: float, *, nx: bool = False) -> bool:
        there = self.data.zsets.setdefault(key, {})
        if nx and member in there:
            return False
        there[member] = score
        return True

    def zrem(self, key: str, member: str) -> None:
        self.data.zsets.get(key, {}).pop(member, None)


@dataclass
class Link:
    """A process's connection: while it is cut or Redis is away a command is not carried out; its answer may be lost."""

    redis: Redis
    process: Process

    def __call__(self, command: Callable[[Redis], T]) -> T:
        if self.redis.away or self.process.cut:
            raise Away
        answer = command(self.redis)
        if self.process.deaf:
            self.process.deaf = False
            raise Away
        return answer
