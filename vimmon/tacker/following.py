"""What became of following Tacker, as it stands in the hash `vimmon:tacker`."""

from collections.abc import Mapping

import orjson
from pydantic import Field, ValidationError

from vimmon.tacker.plan import Doubt
from vimmon.vim import Frozen

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
