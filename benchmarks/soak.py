"""`make soak`: 10,000 monitors in one executor process, by icmp and by tcp, each every 10 s for five minutes.

The executor is a real host and prober in a process of its own, without Mistral; Redis, conductor and database are real,
so that leases are checked and statuses acknowledged. What it asks are as many addresses of this machine. Exit code 1
when a target is missed, or when not all were probed on time.
"""

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own
from sqlalchemy import func, select

from benchmarks.ground import Site, site
from benchmarks.measure import cpu_s
from benchmarks.programs import Talking
from benchmarks.table import Goal, conclude, console, figure_of, machine, show
from vimmon.embedded.redis import RedisServer
from vimmon.registry.models import STATUS_CHANGES, VIMS
from vimmon.vim import VimStatus

KINDS = ("icmp", "tcp")
FAR = "icmp-far"  # hosts that reply after 5 to 200 ms; as root, and only when asked for
TARGETS = {FAR: "benchmarks.far_hosts"}
INTERVAL_S = 10.0
WARM_UP = 2  # intervals, after the last was acknowledged
SETTLE_S = 3.0  # an idle host has connected, and loaded what it needs
READY_S = 120.0
MIB = 1024 * 1024
CPU_MAX, MEMORY_MAX_MIB, P99_MAX_MS = 3, 64, 250
HEADINGS = (
    "",
    "probes/s",
    "CPU % of a core",
    "MiB above idle",
    "lag p50 ms",
    "p99 ms",
    "longest ms",
    "queued",
    "false changes",
)


@dataclass(frozen=True)
class Soak:
    """One run. `lag_*` is how late probes were started, as far as the wheel knows; `queued`, how many of them at most
    waited for their turn, looked at once a second. `false_changes`: rows of the history, and VIMs, that are not
    REACHABLE."""

    per_s: float
    cpu_percent: float
    above_idle_mib: float
    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    queued: int
    false_changes: int


class NotSoaked(Exception):
    """The run says nothing: not all monitors did what they should have done."""


def soak(
    kind: str, server: RedisServer, folder: Path, *, monitors: int, seconds: float, interval_s: float = INTERVAL_S
) -> Soak:
    """Raises NotSoaked."""
    with ExitStack() as stack:
        place = stack.enter_context(site(f"soak-{kind}", "sqlite", server, folder))
        place.start_conductor()
        probe = kind.partition("-")[0]
        vims = place.populate(monitors, probe)
        target = Talking(TARGETS.get(kind, "benchmarks.soak_target"))
        stack.callback(target.stop)
        at = target.hear()
        where = (server.url, place.name, str(vims), probe, at["network"], str(at["port"]))
        executor = Talking("benchmarks.soak_executor", *where)
        stack.callback(executor.stop)
        executor.ask(order="tell")
        time.sleep(SETTLE_S)
        idle = _resident(executor)
        executor.ask(order="take_on", interval_s=interval_s)
        deadline = time.monotonic() + READY_S
        while (acknowledged := executor.ask(order="tell")["acknowledged"]) < monitors:
            if time.monotonic() > deadline:
                raise NotSoaked(f"after {READY_S:g} s {acknowledged} of {monitors} monitors are REACHABLE")
            time.sleep(1)
        time.sleep(WARM_UP * interval_s)
        executor.ask(order="begin")
        before_s, began = cpu_s([executor.pid]), time.monotonic()
        time.sleep(seconds)
        used_s, wall_s = cpu_s([executor.pid]) - before_s, time.monotonic() - began
        found = executor.ask(order="tell")
        late_ms = {int(ms): count for ms, count in found["late_ms"]}
        above = (_resident(executor) - idle) / MIB
        probes = found["started"]
        if found["held"] != monitors or found["stale"] or not 0.9 < probes / (monitors * wall_s / interval_s) < 1.1:
            raise NotSoaked(
                f"{kind}: {found['held']} held, {found['stale']} not probed, {probes} probes in {wall_s:.0f} s"
            )
        return Soak(
            probes / wall_s,
            used_s / wall_s * 100,
            above,
            _percentile(late_ms, 0.5),
            _percentile(late_ms, 0.99),
            max(late_ms),
            found["queued"],
            _false_changes(place),
        )


def _resident(executor: Talking) -> int:
    return int(psutil.Process(executor.pid).memory_info().rss)


def _percentile(counts: dict[int, int], share: float) -> float:
    """Of figures that were counted."""
    left = share * sum(counts.values())
    for figure in sorted(counts):
        left -= counts[figure]
        if left <= 0:
            return figure
    return 0.0


def _false_changes(place: Site) -> int:
    with place.engine.connect() as connection:
        said = select(func.count()).where(STATUS_CHANGES.c.new != VimStatus.REACHABLE)
        stand = select(func.count()).where(VIMS.c.status != VimStatus.REACHABLE)
        return int(connection.execute(said).scalar_one()) + int(connection.execute(stand).scalar_one())


def goals_of(kind: str, found: Soak) -> list[Goal]:
    goals: list[tuple[str, float, float, str]] = [
        ("memory above idle", found.above_idle_mib, MEMORY_MAX_MIB, " MiB"),
        ("p99 of the lag", found.lag_p99_ms, P99_MAX_MS, " ms"),
        ("false changes", found.false_changes, 0, ""),
    ]
    if kind == "icmp":
        goals.insert(0, ("CPU of a core", found.cpu_percent, CPU_MAX, " %"))
    return [Goal(f"{kind}: {what}", figure, most, unit, at_most=True) for what, figure, most, unit in goals]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long each kind is measured (default 300)")
    parser.add_argument("--monitors", type=int, default=10_000, help="how many (default 10000)")
    parser.add_argument("--kind", choices=(*KINDS, FAR), action="append", help="only this one")
    parser.add_argument("--short", action="store_true", help="40 s each: a try")
    given = parser.parse_args()
    seconds = 40.0 if given.short else given.seconds
    console().print(machine(("redis", "hiredis"), programs=(("redis-server", "--version"),)))
    folder = Path(tempfile.mkdtemp(prefix="vimmon-bench-"))
    rows, goals = [], []
    try:
        with RedisServer(folder) as server:
            for kind in given.kind or KINDS:
                found: Any = soak(kind, server, folder, monitors=given.monitors, seconds=seconds)
                rows.append((kind, *map(figure_of, vars(found).values())))
                goals += goals_of(kind, found)
    except NotSoaked as wrong:
        sys.stderr.write(f"error: {wrong}\n")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(f"{given.monitors:,} monitors in one process, {seconds:g} s", HEADINGS, rows)
    return conclude(goals)


if __name__ == "__main__":
    sys.exit(main())
