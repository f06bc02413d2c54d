"""`make bench-fleet`: 100,000 VIMs on one machine, with one Redis, PostgreSQL, a conductor, and ten executors.

All of it real, but for Mistral: the executors are handed their monitors directly, 10,000 each. Ten minutes with a tcp
probe a minute, ten with an icmp probe every ten seconds; one check a minute. The clouds are as many addresses in a
network of their own, of which one in twenty falls silent during the first half; most of these answer again during the
second. In the end the database must say what they are, and its history what they were. Exit code 1 when it does not, or
when a target is missed. It needs root, PostgreSQL and iproute2.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own

from benchmarks.fleet_ground import Fleet, NotAsItShould, fleet
from benchmarks.fleet_network import network_missing
from benchmarks.measure import Meter, percentile
from benchmarks.programs import Silent
from benchmarks.table import Goal, conclude, console, figure_of, machine, show
from tests.support.services import postgres_missing
from vimmon.embedded.process import ServerDidNotStart

EXECUTORS = 10
SHARE = 0.05  # of the clouds fall silent; those that answer again are changes, too
BACK = 0.9  # of them answer again
STEP_S = 1.0
SETTLE_S = 150.0  # the last change is noticed by then
CORES_MAX, IDLE_MIN, UPDATE_P99_MAX_MS, MEMORY_MAX_MIB = 1.5, 0.5, 1000, 150
SHORT_TCP_S = 10.0  # else a change of a short run would be over before it is noticed


@dataclass(frozen=True)
class Run:
    """`cores`: the CPU of each part while it was measured, as a share of one core; `idle`: of the machine's cores, how
    many nobody used, whoever else is there."""

    kind: str
    wall_s: float
    cores: Mapping[str, float]
    memory_mib: Mapping[str, float]
    late_ms: Mapping[str, Counter[int]]
    noticed_s: list[float]
    changes: int
    idle: float

    @property
    def all_cores(self) -> float:
        """Without the clouds: they are elsewhere."""
        return sum(share for part, share in self.cores.items() if part != "clouds")


def measure(kind: str, folder: Path, *, vims: int, seconds: float, interval_s: float) -> Run:
    """Raises NotAsItShould."""
    with fleet(kind, folder, vims=vims, executors=EXECUTORS, interval_s=interval_s) as ground:
        time.sleep(min(interval_s, seconds / 4))  # the first probes came all at once
        for executor in ground.executors:
            executor.ask(order="begin")
        idle_before = psutil.cpu_times().idle
        with Meter(ground.parts()) as meter:
            _change(ground, vims, seconds)
        idle = (psutil.cpu_times().idle - idle_before) / meter.wall_s
        late_ms, memory_mib = ground.tell(), ground.memory_mib()
        deadline = time.monotonic() + SETTLE_S
        while not ground.as_they_are():
            if time.monotonic() > deadline:
                raise NotAsItShould(f"{SETTLE_S:g} s after the last change rows say something else than their clouds")
            time.sleep(2)
        if restarted := ground.restarted():
            raise NotAsItShould(f"{restarted} VIMs were given to another action, though nothing had died")
        cores = {part: used_s / meter.wall_s for part, used_s in meter.used_s.items()}
        changes = sum(map(len, ground.changed.values()))
        return Run(kind, meter.wall_s, cores, memory_mib, late_ms, ground.noticed_s(), changes, idle)


def _change(ground: Fleet, vims: int, seconds: float) -> None:
    """In the first half clouds fall silent, in the second most of them answer again, each a half later."""
    number = round(vims * SHARE)
    silent = [each * vims // number for each in range(number)]
    back = silent[: round(number * BACK)]
    began, half = time.monotonic(), seconds / 2
    gone = returned = 0
    while (passed := time.monotonic() - began) < seconds:
        to_go = min(number, round(number * passed / half))
        to_return = max(0, min(len(back), round(number * (passed - half) / half)))
        ground.change(silent[gone:to_go], back[returned:to_return])
        gone, returned = to_go, to_return
        time.sleep(max(0.0, min(STEP_S, seconds - (time.monotonic() - began))))
    ground.change(silent[gone:], back[returned:])


def _of(counts: Counter[int], share: float) -> float:
    return percentile(sorted(counts.elements()), share)


def report(runs: list[Run], vims: int) -> None:
    cpu = [(part, *(figure_of(run.cores[part] * 100) for run in runs)) for part in runs[0].cores]
    cpu.append(("all but the clouds", *(figure_of(run.all_cores * 100) for run in runs)))
    cpu.append(("of the machine, idle", *(figure_of(run.idle * 100) for run in runs)))
    kinds = [run.kind for run in runs]
    show(f"{vims:,} VIMs in {EXECUTORS} executors: CPU, % of a core", ("", *kinds), cpu)
    memory = [(part, *(figure_of(run.memory_mib[part]) for run in runs)) for part in runs[0].memory_mib]
    show("Memory, MiB: the largest executor; the conductor with all its processes", ("", *kinds), memory)
    rows = []
    for run in runs:
        for what, counts in run.late_ms.items():
            figures = (counts.total() / run.wall_s, _of(counts, 0.5), _of(counts, 0.99), max(counts, default=0))
            rows.append((f"{run.kind}: {what}", *map(figure_of, figures)))
    show("How late", ("", "a second", "p50 ms", "p99 ms", "longest ms"), rows)
    noticed = [
        (run.kind, f"{run.changes:,}", *(figure_of(percentile(run.noticed_s, share)) for share in (0.5, 0.99, 1.0)))
        for run in runs
    ]
    headings = ("", "changes", "in the row after s, p50", "p99", "longest")
    show("Changes of the clouds, all of which are in the database, and no others", headings, noticed)


def goals_of(run: Run) -> list[Goal]:
    goals = [
        ("cores of all but the clouds", run.all_cores, CORES_MAX, ""),
        ("p99 of the lag of an update", _of(run.late_ms["update"], 0.99), UPDATE_P99_MAX_MS, " ms"),
        *((f"memory: {part}", mib, MEMORY_MAX_MIB, " MiB") for part, mib in run.memory_mib.items()),
    ]
    found = [Goal(f"{run.kind}: {what}", figure, most, unit, at_most=True) for what, figure, most, unit in goals]
    return [*found, Goal(f"{run.kind}: cores of the machine, idle", run.idle, IDLE_MIN)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long each kind is measured (default 600)")
    parser.add_argument("--vims", type=int, default=100_000, help="how many (default 100000)")
    parser.add_argument("--kind", choices=("tcp", "icmp"), action="append", help="only this one")
    parser.add_argument("--short", action="store_true", help="10,000 VIMs, a minute and a half of each: a try")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and end, on the way out, all that was started
    tcp_s = 60.0
    if given.short:
        given.seconds, given.vims, tcp_s = 90, 10_000, SHORT_TCP_S
    for missing in (network_missing(), postgres_missing()):
        if missing:
            sys.stderr.write(f"error: {missing}\n")
            return 1
    console().print(machine(("redis", "SQLAlchemy", "psycopg"), programs=(("redis-server", "--version"),)))
    runs = []
    try:
        for kind in given.kind or ("tcp", "icmp"):
            folder = Path(tempfile.mkdtemp(prefix="vimmon-bench-"))
            try:
                interval_s = tcp_s if kind == "tcp" else 10.0
                runs.append(measure(kind, folder, vims=given.vims, seconds=given.seconds, interval_s=interval_s))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except (NotAsItShould, ServerDidNotStart, Silent) as wrong:
        sys.stderr.write(f"error: {wrong}\n")
        return 1
    report(runs, given.vims)
    return conclude([goal for run in runs for goal in goals_of(run)])


if __name__ == "__main__":
    sys.exit(main())
