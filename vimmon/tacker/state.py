"""What became of following Tacker, in Redis, where all conductors and operators find it: `HGETALL vimmon:tacker`.

Nothing is decided by it but when the next pass is due, and whether a list that lacks most VIMs has said so before.
"""

from collections.abc import Mapping
from typing import Any, cast

import orjson
from redis import Redis

from vimmon.lease.keys import Keys
from vimmon.tacker.carrying import Done
from vimmon.tacker.following import Doubted, Following, Skipped, following_of
from vimmon.tacker.listing import NotWatched
from vimmon.tacker.plan import Doubt

KEPT_S = 24 * 3600  # after the last pass: then nobody follows Tacker any more
NOT_WATCHED_MAX = 200
CHANGES = ("registered", "updated", "deregistered")


def read_following(redis: Redis, keys: Keys) -> Following | None:
    """None where nobody has followed Tacker for a day. Raises redis's own errors."""
    raw = cast(Mapping[bytes, bytes], redis.hgetall(keys.tacker))
    return following_of(raw) if raw else None


def write_following(redis: Redis, keys: Keys, **fields: Any) -> None:
    """Writes some of the fields. Raises redis's own errors."""
    said = Following(**fields).model_dump(mode="json", include=set(fields))
    pipeline = redis.pipeline(transaction=False)
    pipeline.hset(keys.tacker, mapping={name: orjson.dumps(value) for name, value in said.items()})
    pipeline.expire(keys.tacker, KEPT_S)
    pipeline.execute()


def count_changes(redis: Redis, keys: Keys, done: Done) -> None:
    """Adds them to what all conductors have counted."""
    pipeline = redis.pipeline(transaction=False)
    for change in CHANGES:
        if count := getattr(done, change):
            pipeline.hincrby(keys.totals, f"tacker:{change}", count)
    pipeline.execute(raise_on_error=False)  # where the hash is of another type, nobody counts


def doubted(doubt: Doubt | None) -> Doubted | None:
    if doubt is None:
        return None
    return Doubted(
        times=doubt.times, missing=tuple(sorted(doubt.missing)), out_of=doubt.out_of, since_ms=doubt.since_ms
    )


def skipped(not_watched: tuple[NotWatched, ...]) -> dict[str, Any]:
    some = not_watched[:NOT_WATCHED_MAX]
    return {
        "skipped": len(not_watched),
        "not_watched": tuple(Skipped(id=one.vim_id, name=one.name, reason=one.reason) for one in some),
    }
