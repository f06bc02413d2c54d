"""The minute check: reads, for many monitors at once, the leases and statuses that Redis has.

An executor that holds thousands of VIMs does nothing as often, and what it reads is almost always what its monitors
know: so they are given it as it was read, and the command is put together by hiredis.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis

from vimmon.actions.client import PAUSE_S
from vimmon.actions.connection import Line
from vimmon.actions.wheel import Wheel
from vimmon.lease.keys import Keys

BULK = 500
SLOTS = 60  # the interval is cut into so many parts; the monitors of each are checked together
JITTER = 0.1  # a share of the interval, in both directions

Read = tuple[str, bytes | None, bytes | None]  # a VIM, and the values of its lease key and its status key


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
        self.late_s = 0.0  # how long after the beginning of its slot the last answer came

    @property
    def owed(self) -> int:
        """How many VIMs are due, and Redis has not answered for yet."""
        return len(self._owed)

    def add(self, vim_id: str) -> None:
        self._wheel.add(vim_id, self._interval_s, self._clock())

    def remove(self, vim_id: str) -> None:
        self._wheel.remove(vim_id)
        self._owed.discard(vim_id)

    async def due(self) -> list[Read]:
        """Waits for the next slot, and reads what is due in it. Raises redis's errors while it is away."""
        began = self._clock() + (wait_s := self._wheel.wait_s(self._clock()))
        await asyncio.sleep(wait_s)
        self._owed.update(self._wheel.due(self._clock()))
        if not self._owed:
            return []
        found = await read_leases(self._line, self._keys, list(self._owed))
        self._owed.clear()
        self.late_s = self._clock() - began
        return found


async def read_leases(line: Line, keys: Keys, vim_ids: Sequence[str]) -> list[Read]:
    """What Redis says of each VIM; None where it says nothing. Raises redis's errors while it is away."""
    found: list[Read] = []
    for start in range(0, len(vim_ids), BULK):
        some = vim_ids[start : start + BULK]
        values = cast(list[bytes | None], await line.ask("MGET", *keys.leases_and_statuses(some, some)))
        found += zip(some, values[: len(some)], values[len(some) :], strict=True)
    return found
