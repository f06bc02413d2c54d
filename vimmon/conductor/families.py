"""Every metric of vimmon: its name, what it means to an operator, and its value in what was read. No I/O.

All conductors show the same: what Redis and the database know. So `max` over them, and never `sum`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from vimmon.conductor.reading import Reading
from vimmon.conductor.tally import ACTIONS, CALLS, MICRO, SECONDS, SIZES, Totals
from vimmon.metrics import Spread
from vimmon.registry.census import LISTED_MAX, Census
from vimmon.tacker.state import CHANGES
from vimmon.version import VERSION
from vimmon.vim import VimStatus

VIM = ("vim_id", "name")
Labels = TypeVar("Labels", bound=tuple[str, ...])


def families(reading: Reading | None, census: Census | None, names: Mapping[str, str]) -> Iterator[Metric]:
    """`reading` and `census` are None where Redis or the database is away; `names`: of VIMs, as far as known."""
    yield InfoMetricFamily("vimmon_conductor", "The version of the conductor that answers here", {"version": VERSION})
    up = {("redis",): float(reading is not None), ("database",): float(census is not None)}
    yield _gauge(
        "vimmon_up", "Whether this conductor reaches what it needs; 0: what is read there is missing", up, "part"
    )
    if census is not None:
        yield from _of_database(census)
    if reading is not None:
        yield from _of_redis(reading)
        yield from _of_totals(reading.totals)
        yield from _of_tacker(reading)
        yield from _of_executors(reading)
        yield from _of_vims(reading, names)


def _of_database(census: Census) -> Iterator[Metric]:
    yield _gauge(
        "vimmon_vims", "Registered VIMs by status", {(str(s),): n for s, n in census.by_status.items()}, "status"
    )
    yield _gauge(
        "vimmon_vim_not_reachable_seconds",
        f"How long each VIM that is not REACHABLE has had its status; of {LISTED_MAX} at most",
        {(one.vim_id, one.name, str(one.status)): one.for_s for one in census.absent},
        *VIM,
        "status",
    )


def _of_redis(reading: Reading) -> Iterator[Metric]:
    yield _gauge("vimmon_conductors", "Conductors that answer actions", {(): len(reading.conductors)})
    yield _gauge("vimmon_executors", "Executors that live", {(): len(reading.executors)})
    yield _gauge("vimmon_requests_waiting", "Calls of actions that no conductor has taken yet", {(): reading.requests})
    yield _gauge("vimmon_requests_dead", "Calls that were put aside: LRANGE vimmon:rpc:dead 0 -1", {(): reading.dead})
    jobs = {(state,): count for state, count in reading.jobs.items()}
    yield _gauge("vimmon_jobs", "Jobs for Mistral by state; retrying: waits for another try", jobs, "state")
    if reading.reconciled_s is not None:
        yield _gauge(
            "vimmon_reconcile_age_seconds",
            "How long ago the last whole comparison of wanted and held monitors began",
            {(): reading.reconciled_s},
        )


def _of_totals(totals: Totals) -> Iterator[Metric]:
    yield _counter(
        "vimmon_calls",
        "Calls of actions by what became of them; bad_action: of one that is not wanted any more",
        {(outcome,): totals.of("calls", outcome) for outcome in CALLS},
        "outcome",
    )
    yield _counter(
        "vimmon_status_changes",
        "Changes of a VIM's status that were reported or found, by the new status",
        {(str(status),): totals.of("changes", status) for status in VimStatus if status != VimStatus.PENDING},
        "status",
    )
    for name, what, bounds, unit, text in (
        ("vimmon_batch_requests", "batch_requests", SIZES, 1, "How many calls a conductor took at once"),
        ("vimmon_batch_duration_seconds", "batch_seconds", SECONDS, MICRO, "How long a batch took, taken to answered"),
    ):
        histogram = HistogramMetricFamily(name, text)
        counted, total = totals.spread(what, bounds, unit)
        histogram.add_metric([], [(_le(bound), count) for bound, count in counted], total)
        yield histogram
    yield _counter("vimmon_reconcile_passes", "Whole comparisons", {(): totals.of("reconcile", "pass")})
    yield _counter(
        "vimmon_reconcile_actions",
        "What comparisons found to do: start a monitor, restart one, call a VIM UNKNOWN that nobody watches",
        {(action,): totals.of("reconcile", action) for action in ACTIONS},
        "action",
    )


def _of_tacker(reading: Reading) -> Iterator[Metric]:
    said, age_s = reading.tacker, reading.tacker_list_s
    vims: dict[tuple[str, ...], float] = {}
    failures: dict[tuple[str, ...], float] = {}
    if said is not None:
        missing = len(said.doubt.missing) if said.doubt else 0
        vims = {("watched",): said.followed, ("not_watched",): said.skipped, ("missing",): missing}
        failures = {(): said.failed}
    text = "VIMs that Tacker lists, watched or not; missing: of those watched, in a list that is not believed"
    yield _gauge("vimmon_tacker_vims", text, vims, "state")
    yield _gauge("vimmon_tacker_failures", "How often Tacker's list could not be read since it last was", failures)
    for name, text, value in (
        ("vimmon_tacker_list_age_seconds", "How long ago Tacker's list was last read to its end", age_s),
        ("vimmon_tacker_interval_seconds", "How often a conductor reads it", said.interval_s if said else None),
    ):
        yield _gauge(name, text, {} if value is None else {(): value})
    yield _counter(
        "vimmon_tacker_changes",
        "VIMs that were registered, changed or de-registered because Tacker's list says so",
        {(change,): reading.totals.of("tacker", change) for change in CHANGES} if said else {},
        "change",
    )


def _of_executors(reading: Reading) -> Iterator[Metric]:
    seen = reading.executors
    gauges: Sequence[tuple[str, str, Mapping[tuple[str], float]]] = (
        ("vimmon_monitors", "VIMs that an executor watches", {(e,): one.monitors for e, one in seen.items()}),
        (
            "vimmon_prober_degraded",
            "1: all VIMs of this executor fail at once, so it suspects itself and calls none UNREACHABLE",
            {(e,): float(one.degraded) for e, one in seen.items()},
        ),
        ("vimmon_probes_running", "Probes on the wire", {(e,): one.metrics.running for e, one in seen.items()}),
        ("vimmon_probes_waiting", "Probes that queue", {(e,): one.metrics.waiting for e, one in seen.items()}),
        (
            "vimmon_oldest_check_age_seconds",
            "How long ago the VIM was looked at that was not looked at for longest, as the executor last said",
            {(e,): one.metrics.oldest_check_s for e, one in seen.items() if one.metrics.oldest_check_s is not None},
        ),
    )
    for name, text, values in gauges:
        yield _gauge(name, text, values, "executor")
    probes = {
        (executor, kind, str(status)): count
        for executor, one in seen.items()
        for kind, by_status in one.metrics.probes.items()
        for status, count in by_status.items()
    }
    yield _counter("vimmon_probes", "Probes by what they found", probes, "executor", "kind", "status")
    answers = {executor: one.metrics.answers for executor, one in seen.items()}
    yield _histogram("vimmon_probe_duration_seconds", "How long the probes took that were answered", answers, "kind")
    lag = {executor: one.metrics.lag for executor, one in seen.items()}
    text = "How late probes began: schedule, after their time; turn, of those that queued for one"
    yield _histogram("vimmon_probe_lag_seconds", text, lag, "cause")


def _of_vims(reading: Reading, names: Mapping[str, str]) -> Iterator[Metric]:
    expiries: dict[tuple[str, ...], float] = {}
    for one in reading.executors.values():
        for vim_id, expires in one.metrics.certificates.items():
            key = (vim_id, names.get(vim_id, ""))  # two may name it while it moves from one to the other
            expiries[key] = min(expires, expiries.get(key, expires))
    text = "When the certificate of a VIM expires"
    yield _gauge("vimmon_certificate_expiry_timestamp_seconds", text, expiries, *VIM)
    flapping = {vim_id for one in reading.executors.values() for vim_id in one.metrics.flapping}
    text = "VIMs whose status changed at least six times within an hour"
    yield _gauge("vimmon_vim_flapping", text, {(vim_id, names.get(vim_id, "")): 1 for vim_id in flapping}, *VIM)


def vims_of(reading: Reading) -> Iterable[str]:
    """The VIMs whose names are shown for what executors say of them."""
    for one in reading.executors.values():
        yield from one.metrics.certificates
        yield from one.metrics.flapping


def _gauge(name: str, text: str, values: Mapping[Labels, float], *labels: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _counter(name: str, text: str, values: Mapping[Labels, float], *labels: str) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _histogram(name: str, text: str, spreads: Mapping[str, Mapping[str, Spread]], label: str) -> Metric:
    family = HistogramMetricFamily(name, text, labels=("executor", label))
    for executor, by_label in spreads.items():
        for which, spread in by_label.items():
            family.add_metric((executor, which), _cumulated(spread), spread.sum)
    return family


def _cumulated(spread: Spread) -> Sequence[tuple[str, float]]:
    running, buckets = 0, []
    for bound, count in zip((*spread.bounds, inf), spread.counts, strict=True):
        running += count
        buckets.append((_le(bound), running))
    return buckets


def _le(bound: float) -> str:
    return "+Inf" if bound == inf else f"{bound:g}"
