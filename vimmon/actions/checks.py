"""The minute check: reads, for many monitors at once, the leases and statuses that Redis has."""

from collections.abc import Sequence
from typing import TypeVar, cast

from redis.asyncio import Redis

from vimmon.lease.keys import Keys
from vimmon.lease.model import CommittedStatus, Lease, parse_lease, parse_status

BULK = 500
T = TypeVar("T")


async def read_leases(
    redis: Redis, keys: Keys, vim_ids: Sequence[str]
) -> list[tuple[str, Lease | None, CommittedStatus | None]]:
    """What Redis says of each VIM; None where it says nothing readable. Raises redis's errors while it is away."""
    found = []
    for start in range(0, len(vim_ids), BULK):
        some = vim_ids[start : start + BULK]
        names = [key for vim_id in some for key in (keys.lease(vim_id), keys.status(vim_id))]
        values = [_text(value) for value in cast(list[object], await redis.mget(names))]
        found += [
            (vim_id, parse_lease(lease), parse_status(status))
            for vim_id, lease, status in zip(some, values[::2], values[1::2], strict=True)
        ]
    return found


def _text(value: object) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None
