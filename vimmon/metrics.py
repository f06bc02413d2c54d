"""What an executor counts for whoever operates it, as it stands in Redis: an executor writes it, a conductor reads it.

It is read with distrust: what is not as it should be is left out, whatever else the executor says.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from vimmon.vim import Frozen, VimStatus

FIELD_MAX_BYTES = 4 * 1024 * 1024  # certificates of 50,000 VIMs
MOST = 2**53
ANSWER_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAG_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

Count = Annotated[int, Field(ge=0, le=MOST, strict=True)]
Kind = Annotated[str, Field(pattern=r"^[a-z]{1,16}$")]
VimId = Annotated[str, Field(min_length=1, max_length=64)]
Finite = Annotated[float, Field(ge=0, le=MOST)]


class Spread(Frozen):
    """How many values were at most each of the `bounds` and above the one before; the last count: above them all."""

    bounds: tuple[Finite, ...] = Field(min_length=1, max_length=64)
    counts: tuple[Count, ...]
    sum: Finite

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.counts) != len(self.bounds) + 1 or sorted(set(self.bounds)) != list(self.bounds):
            raise ValueError("not one count more than there are bounds, each above the one before")
        return self


class ExecutorMetrics(Frozen):
    """Fields of the hash `executor:<id>:metrics`, each JSON. All that is counted begins at 0 with the executor.

    `probes`: by kind and what was found; `answers`: in seconds, of the probes that were answered, by kind; `lag`: how
    late probes began, in seconds, by what they waited for; `certificates`: when each VIM's expires, in seconds since
    1970; `oldest_check_s`: how long ago the VIM was looked at that was not looked at for longest.
    """

    running: Count = 0
    waiting: Count = 0
    oldest_check_s: Finite | None = None
    probes: Mapping[Kind, Mapping[VimStatus, Count]] = Field(default={}, max_length=16)
    answers: Mapping[Kind, Spread] = Field(default={}, max_length=16)
    lag: Mapping[Kind, Spread] = Field(default={}, max_length=16)
    certificates: Mapping[VimId, Finite] = {}
    flapping: tuple[VimId, ...] = ()

    def fields(self) -> dict[str, bytes]:
        return {name: orjson.dumps(value) for name, value in self.model_dump(mode="json").items()}


def read_metrics(fields: Mapping[str, bytes | None]) -> ExecutorMetrics:
    """What can be read of them; for the rest it is as if the executor had said nothing."""
    read = ExecutorMetrics()
    for name in ExecutorMetrics.model_fields:
        raw = fields.get(name)
        if raw is None or len(raw) > FIELD_MAX_BYTES:
            continue
        try:
            found = ExecutorMetrics.model_validate({name: orjson.loads(raw)})
        except (orjson.JSONDecodeError, ValidationError):
            continue
        read = read.model_copy(update={name: getattr(found, name)})
    return read


class Histogram:
    """Counts values by their size. As cheap as it can be: some are added at every probe."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_all(self, values: Sequence[float]) -> None:
        if len(values) <= len(self._bounds):
            for value in values:
                self.add(value)
            return
        ordered, before = sorted(values), 0
        for number, bound in enumerate(self._bounds):
            up_to = bisect_right(ordered, bound, before)
            self._counts[number] += up_to - before
            before = up_to
            if before == len(ordered):  # nearly always soon
                break
        self._counts[-1] += len(ordered) - before
        self._sum += sum(values)

    def spread(self) -> Spread:
        total = self._sum if math.isfinite(self._sum) else 0.0
        return Spread(bounds=tuple(self._bounds), counts=tuple(self._counts), sum=max(0.0, total))
