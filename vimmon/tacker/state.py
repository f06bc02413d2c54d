"""What became of following Tacker, in Redis, where all conductors and operators find it: `HGETALL vimmon:tacker`.

Nothing is decided by it but when the next pass is due, and whether a list that lacks most VIMs has said so before.
"""

from collections.abc import Mapping
from typing import Any, cast

import orjson
from pydantic import Field, ValidationError
from redis import Redis

from vimmon.lease.keys import Keys
from vimmon.tacker.carrying import Done
from vimmon.tacker.listing import NotWatched
from vimmon.tacker.plan import Doubt
from vimmon.vim import Frozen

KEPT_S = 24 * 3600  # after the last pass: then nobody follows Tacker any more
NOT_WATCHED_MAX = 200
CHANGES = ("registered", "updated", "deregistered")
MOST = 2**53


class Skipped(Frozen):
    id: str
    name: str
    reason: str


class Doubted(Frozen):
    times: int = Field(ge=1, le=MOST)
    missing: tuple[str, ...]
    out_of: int = Field(ge=0, le=MOST)
    since_ms: int = Field(ge=0, le=MOST)


class Following(Frozen):
    """The fields of the hash, each JSON. Times are ms of Redis's clock; None: not yet.

    `began_ms`: when the last pass began; `read_ms`: when the list was last read whole; `failed`: how many passes have
    failed since, the last with `error`; `followed`: VIMs that are watched because Tacker lists them; `not_watched`:
    that are not, and why, NOT_WATCHED_MAX of `skipped`; `doubt`: the list that is not believed; `interval_s`: of the
    conductor that follows Tacker.
    """

    began_ms: int | None = None
    read_ms: int | None = None
    failed: int = 0
    error: str | None = None
    followed: int = 0
    skipped: int = 0
    not_watched: tuple[Skipped, ...] = ()
    doubt: Doubted | None = None
    interval_s: float | None = None

    def doubted(self) -> Doubt | None:
        if self.doubt is None:
            return None
        return Doubt(self.doubt.times, frozenset(self.doubt.missing), self.doubt.out_of, self.doubt.since_ms)


def read_following(redis: Redis, keys: Keys) -> Following | None:
    """None where nobody has followed Tacker for a day. Raises redis's own errors."""
    raw = cast(Mapping[bytes, bytes], redis.hgetall(keys.tacker))
    return following_of(raw) if raw else None


def following_of(raw: Mapping[bytes, bytes]) -> Following:
    """What can be read of the hash; for the rest it is as if it had not been said."""
    read = Following()
    for name in Following.model_fields:
        value = raw.get(name.encode())
        if value is None:
            continue
        try:
            found = Following.model_validate({name: orjson.loads(value)})
        except (orjson.JSONDecodeError, ValidationError):
            continue
        read = read.model_copy(update={name: getattr(found, name)})
    return read


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
