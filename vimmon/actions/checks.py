"""The minute check: reads, for many monitors at once, the leases and statuses that Redis has.

An executor that holds thousands of VIMs does nothing as often, and almost always it reads what it read before, and what
followed from that was nothing: so what is expected is compared for many at once, and no more is done for them. The
command is put together by hiredis.
"""

import asyncio
import random
from collections.abc import Sequence
from itertools import repeat
from typing import cast

from redis.asyncio import Redis

from vimmon.actions.client import PAUSE_S
from vimmon.actions.connection import Line
from vimmon.actions.wheel import Wheel
from vimmon.lease.keys import Keys

BULK = 500
SLOTS = 60  # the interval is cut into so many parts; the monitors of each are checked together
JITTER = 0.1  # a share of the interval, in both directions
NOTHING = object()  # is equal to no value, and to no missing one

Value = bytes | None
Read = tuple[str, Value, Value]  # a VIM, and the values of its lease key and its status key


class Checks:
    """When to check the lease of which VIM, each once per interval."""

    def __init__(self, redis: Redis, keys: Keys, *, interval_s: float, rng: random.Random) -> None:
        slot_s = interval_s / SLOTS
        self.pause_s = min(PAUSE_S, slot_s)  # before Redis is asked again
        self._line = Line(redis)
        self._keys = keys
        self._interval_s = interval_s
        self._clock = asyncio.get_running_loop().time
        self._wheel = Wheel(rng=rng, slot_s=slot_s, jitter=JITTER)
        self._owed: set[str] = set()  # until Redis has answered for them
        self._leases: dict[str, Value] = {}  # what is expected
        self._statuses: dict[str, Value] = {}
        self.late_s = 0.0  # how long after the beginning of its slot all that was due in it had been answered
        self.read = 0  # how many VIMs it was about

    @property
    def owed(self) -> int:
        """How many VIMs are due, and Redis has not answered for yet."""
        return len(self._owed)

    def add(self, vim_id: str) -> None:
        self._wheel.add(vim_id, self._interval_s, self._clock())

    def remove(self, vim_id: str) -> None:
        self._wheel.remove(vim_id)
        self._owed.discard(vim_id)
        self.expect_nothing(vim_id)

    def expect(self, vim_id: str, lease: Value, status: Value) -> None:
        """From now on nothing follows from these two."""
        self._leases[vim_id], self._statuses[vim_id] = lease, status

    def expect_nothing(self, vim_id: str) -> None:
        """From now on something may follow from anything."""
        self._leases.pop(vim_id, None)
        self._statuses.pop(vim_id, None)

    async def due(self) -> list[Read]:
        """Waits for the next slot, and reads what is due in it: given is what was not expected. Raises redis's errors
        while it is away."""
        began = self._clock() + (wait_s := self._wheel.wait_s(self._clock()))
        await asyncio.sleep(wait_s)
        self._owed.update(self._wheel.due(self._clock()))
        owed, found = list(self._owed), []
        for start in range(0, len(owed), BULK):
            some = owed[start : start + BULK]
            values = await read_leases(self._line, self._keys, some)
            expected = [*map(self._leases.get, some, repeat(NOTHING)), *map(self._statuses.get, some, repeat(NOTHING))]
            if values != expected:
                found += _others(some, values, expected)
        self._owed.clear()
        self.late_s, self.read = self._clock() - began, len(owed)
        return found


async def read_leases(line: Line, keys: Keys, vim_ids: Sequence[str]) -> list[Value]:
    """What Redis says of each VIM, None where it says nothing: all their leases, then all their statuses. Raises
    redis's errors while it is away."""
    return cast(list[Value], await line.ask("MGET", *keys.leases_and_statuses(vim_ids, vim_ids)))


def _others(vim_ids: Sequence[str], values: Sequence[Value], expected: Sequence[object]) -> list[Read]:
    """Those of which anything is not as expected."""
    number = len(vim_ids)
    found = zip(vim_ids, values[:number], values[number:], strict=True)
    each = zip(found, expected[:number], expected[number:], strict=True)
    return [read for read, lease, status in each if (read[1], read[2]) != (lease, status)]
