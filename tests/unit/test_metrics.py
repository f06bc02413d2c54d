"""What an executor says it counted, read with distrust; and the counting itself."""

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimmon.metrics import FIELD_MAX_BYTES, ExecutorMetrics, Histogram, Spread, read_metrics
from vimmon.vim import VimStatus

SPREAD = Spread(bounds=(0.1, 1.0), counts=(3, 0, 2), sum=7.5)
SAID = ExecutorMetrics(
    running=3,
    waiting=1,
    oldest_check_s=12.5,
    probes={"tcp": {VimStatus.REACHABLE: 7, VimStatus.UNKNOWN: 1}},
    answers={"tcp": SPREAD},
    lag={"schedule": SPREAD},
    certificates={"v": 1_900_000_000},
    flapping=("w",),
)


@given(st.lists(st.one_of(st.floats(0, 5), st.sampled_from([0.1, 1.0, 2.5])), max_size=40))
def test_many_are_counted_together_as_they_are_one_by_one(values: list[float]) -> None:
    together, alone = Histogram((0.1, 1.0, 2.5)), Histogram((0.1, 1.0, 2.5))
    together.add_all(values)
    for value in values:
        alone.add(value)
    assert together.spread().counts == alone.spread().counts
    assert together.spread().sum == pytest.approx(alone.spread().sum)


def test_what_is_written_is_read() -> None:
    assert read_metrics(SAID.fields()) == SAID


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        ("running", b"-1"),
        ("running", b"true"),
        ("running", b"1e400"),
        ("waiting", b"9007199254740993"),
        ("oldest_check_s", b"NaN"),
        ("probes", b'{"tcp": {"PERHAPS": 1}}'),
        ("probes", b'{"a\\nb": {"REACHABLE": 1}}'),
        ("probes", b'{"tcp": {"REACHABLE": -1}}'),
        ("answers", b'{"tcp": {"bounds": [1, 1], "counts": [1, 2, 3], "sum": 1}}'),
        ("answers", b'{"tcp": {"bounds": [1, 2], "counts": [1, 2], "sum": 1}}'),
        ("answers", b'{"tcp": {"bounds": [1], "counts": [1, 2], "sum": -1}}'),
        ("lag", b"[]"),
        ("certificates", b'{"v": "soon"}'),
        ("certificates", b'{"%s": 1}' % (b"v" * 65)),
        ("flapping", b"{"),
        ("flapping", b"[" * 100_000),
        ("running", b" " * FIELD_MAX_BYTES + b"7"),
    ],
)
def test_a_field_that_cannot_be_read_is_left_out_and_the_others_are_read(field: str, raw: bytes) -> None:
    missing = ExecutorMetrics.model_fields[field].get_default()
    assert read_metrics(SAID.fields() | {field: raw}) == SAID.model_copy(update={field: missing})


def test_what_an_older_or_a_newer_executor_says_is_read_as_far_as_it_is_known() -> None:
    assert read_metrics({}) == ExecutorMetrics()
    assert read_metrics({"running": b"3", "temperature": b"21"}) == ExecutorMetrics(running=3)


@given(st.dictionaries(st.sampled_from(sorted(ExecutorMetrics.model_fields)), st.binary(max_size=200)))
def test_no_bytes_break_the_reading(fields: dict[str, bytes]) -> None:
    assert orjson.dumps(read_metrics(fields).model_dump(mode="json"))


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_counts_each_value_below_its_bound(values: list[float]) -> None:
    bounds = (0.5, 1.0, 10.0)
    histogram = Histogram(bounds)
    for value in values:
        histogram.add(value)
    spread = histogram.spread()
    for number, bound in enumerate((*bounds, math.inf)):
        assert sum(spread.counts[: number + 1]) == sum(value <= bound for value in values)
    assert spread.sum == pytest.approx(sum(values))
