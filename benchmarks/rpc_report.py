"""What `make bench-rpc` prints: a table for each database, and what was reached beside what was to be reached."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.measure import Sample, middle
from benchmarks.table import Goal, figure_of, show

CALLERS = (1, 8, 64, 256)
BUS, CHANGED, UNCHANGED = "oslo.messaging", "vimmon, all changed", "vimmon, unchanged"


@dataclass(frozen=True)
class Case:
    database: str
    callers: int
    what: str


class Samples(defaultdict[Case, list[Sample]]):
    def __init__(self) -> None:
        super().__init__(list)

    def middle(self, database: str, callers: int, what: str) -> Sample | None:
        found = self.get(Case(database, callers, what))
        return middle(found) if found else None


def print_samples(samples: Samples, limits: dict[int, float]) -> None:
    headings = ("", "callers", "calls/s", "p50 ms", "p99 ms", "CPU µs/call", "client", "server", "bus", "database")
    for database in dict.fromkeys(case.database for case in samples):
        rows = []
        for callers in CALLERS:
            for what in (BUS, CHANGED, UNCHANGED):
                if sample := samples.middle(database, callers, what):
                    figures = (sample.per_s, sample.p50_ms, sample.p99_ms, sample.all_cpu_us)
                    parts = [sample.cpu_us[part] for part in ("client", "server", "bus", "database")]
                    rows.append((what, str(callers), *(figure_of(figure) for figure in (*figures, *parts))))
            if callers in limits:
                rows.append(("redis-benchmark GET", str(callers), figure_of(limits[callers]), *[""] * 7))
        show(f"update_vim on {database}", headings, rows)


def goals(samples: Samples, limits: dict[int, float], slow: dict[int, float]) -> list[Goal]:
    """Each target beside what was reached, on each database."""
    found = []
    for database in dict.fromkeys(case.database for case in samples):
        for callers, times in ((64, 30), (8, 5), (1, 2)):
            ours, theirs = samples.middle(database, callers, CHANGED), samples.middle(database, callers, BUS)
            what = f"{database}, {callers} caller{'s' if callers > 1 else ''}, all changed:"
            found.append(_goal(f"{what} calls/s × oslo.messaging", ours, theirs, times, lambda one: one.per_s))
            if callers == 64:
                found += [
                    _goal(
                        f"{what} CPU per call, oslo.messaging ÷ vimmon", theirs, ours, 35, lambda one: one.all_cpu_us
                    ),
                    _goal(f"{what} p99, oslo.messaging ÷ vimmon", theirs, ours, 10, lambda one: one.p99_ms),
                ]
        unchanged, limit = samples.middle(database, 256, UNCHANGED), limits.get(256)
        rate = unchanged.per_s / limit if unchanged and limit else None
        found.append(Goal(f"{database}, 256 callers, unchanged: calls/s × redis-benchmark GET", rate, 0.25, " ×"))
    rate = slow[2] / slow[1] if slow else None
    return [*found, Goal("two conductors × one, with 20 ms a transaction", rate, 1.8, " ×")]


def _goal(
    what: str, over: Sample | None, under: Sample | None, target: float, figure: Callable[[Sample], float]
) -> Goal:
    return Goal(what, figure(over) / figure(under) if over and under else None, target, " ×")
