"""`make bench-start`: VIMs registered to REACHABLE per second on a real Mistral, and what a start costs and takes.

Beside it, in turns, what Mistral alone does when as many clients make the same workflows and executions straight
through its API; then, what executions at rest cost an engine. Needs PostgreSQL and RabbitMQ. Exit code 1 when a target
is missed, or something did not come.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.at_rest import PERIOD_S, Rest, Resting
from benchmarks.cloud import Cloud, Late, Started
from benchmarks.measure import Meter, percentile
from benchmarks.table import Goal, conclude, console, figure_of, machine, show
from tests.support.services import postgres_missing, rabbitmq_missing
from vimmon.conductor.service import Parts
from vimmon.embedded.process import ServerDidNotStart

PACKAGES = ("mistral", "python-mistralclient", "rq", "redis", "SQLAlchemy")
WORKERS = Parts().workers
ALONE, APART_S = 5, 2.0  # nothing of the one before is warm any more
SHARE = 0.9
SUPPOSED = 10_000  # executions
FEW = 40


@dataclass
class Side:
    """All rounds of one side. Rates are per second; CPU is in ms for each start, by part."""

    created: list[float] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    cpu_ms: list[dict[str, float]] = field(default_factory=list)

    def row(self, name: str) -> tuple[str, ...]:
        parts = [statistics.median(one[part] for one in self.cpu_ms) for part in self.cpu_ms[0]]
        rates = (statistics.median(self.created), statistics.median(self.arrived))
        return (name, *map(figure_of, (*rates, sum(parts), *parts)))


@dataclass
class Duel:
    """vimmon with so many workers, and so many clients of Mistral's API, in turns."""

    workers: int
    vimmon: Side = field(default_factory=Side)
    straight: Side = field(default_factory=Side)
    started: list[Started] = field(default_factory=list)

    def round(self, cloud: Cloud, number: int, *, vimmon_first: bool) -> None:
        for vimmon in (vimmon_first, not vimmon_first):
            cloud.set_workers(self.workers if vimmon else 0)
            before = cloud.worker_cpu_s()
            with Meter(cloud.parts()) as meter:
                side = self._by_vimmon(cloud, number) if vimmon else self._straight(cloud, number)
            used_s = {**meter.used_s, "workers": cloud.worker_cpu_s() - before}
            side.cpu_ms.append({part: seconds / number * 1000 for part, seconds in used_s.items()})

    def _by_vimmon(self, cloud: Cloud, number: int) -> Side:
        begun, started = cloud.bring_up(number)
        self.started += started
        self.vimmon.created.append(number / (max(one.executed for one in started) - begun))
        self.vimmon.arrived.append(number / (max(one.reachable for one in started) - begun))
        return self.vimmon

    def _straight(self, cloud: Cloud, number: int) -> Side:
        created, arrived = cloud.straight(number, self.workers)
        self.straight.created.append(created)
        self.straight.arrived.append(arrived)
        return self.straight

    def share(self, reached: list[float]) -> float:
        """Of what Mistral alone creates: the middle of what each round says, since both sides of one had the same
        neighbours on this machine."""
        return statistics.median(ours / theirs for ours, theirs in zip(reached, self.straight.created, strict=True))


def show_steps(alone: list[Started], together: list[Started]) -> None:
    """Where the time of a start goes."""
    rows = []
    for step in alone[0].parts():
        ordered = [sorted(one.parts()[step] * 1000 for one in starts) for starts in (alone, together)]
        rows.append((step, *(figure_of(percentile(some, share)) for some in ordered for share in (0.5, 0.9))))
    together_ms = sorted((one.reachable - one.asked) * 1000 for one in together)
    alone_ms = sorted((one.reachable - one.asked) * 1000 for one in alone)
    whole = [percentile(some, share) for some in (alone_ms, together_ms) for share in (0.5, 0.9)]
    rows.append(("from the call until REACHABLE", *map(figure_of, whole)))
    headings = ("ms", "one alone, p50", "p90", "one of many at once, p50", "p90")
    show(f"Where the time of a start goes ({WORKERS} workers)", headings, rows)


def rest(cloud: Cloud, executions: int, *, seconds: float) -> list[Rest]:
    """What those that run now cost the engine, then so many; then these without its look at their integrity."""
    resting = Resting(cloud.mistral, cloud.api())
    try:
        resting.grow(FEW)
        now = resting.measure(integrity=True, seconds=seconds)
        resting.grow(executions)
        more = resting.measure(integrity=True, seconds=seconds)
        cloud.mistral.restart_engine(env={"OS_ENGINE__EXECUTION_INTEGRITY_CHECK_DELAY": "-1"})
        return [now, more, resting.measure(integrity=False, seconds=min(seconds, PERIOD_S / 2))]
    finally:
        resting.close()


def show_rest(found: list[Rest]) -> None:
    off, rows = found[-1], []
    for one in found:
        name = f"{one.executions:,} RUNNING, integrity check {'on' if one.integrity else 'off'}"
        shares = [f"{share:.1%}" for share in (one.engine, one.database)]
        looks = [figure_of(ms) if one.integrity else "" for ms in one.looks_ms(off)]
        supposed = [f"{share:.0%}" if one.integrity else "" for share in one.with_(SUPPOSED, off)]
        rows.append((name, *shares, *looks, *supposed))
    show(
        f"A Mistral engine at rest: shares of a core; it looks at each execution every {PERIOD_S:g} s",
        ("", "engine", "database", "ms a look: engine", "database", f"{SUPPOSED:,} would take: engine", "database"),
        rows,
    )


def measure(given: argparse.Namespace, folder: Path) -> int:
    with ExitStack() as stack:
        cloud = Cloud(folder, stack)
        if given.rest_only:
            cloud.conductor.stop()
            show_rest(rest(cloud, given.executions, seconds=given.seconds))
            return 0
        duels = [Duel(number) for number in sorted({1, WORKERS})]
        for number in range(given.rounds):
            for duel in duels:
                duel.round(cloud, given.vims, vimmon_first=number % 2 == 0)
        cloud.set_workers(WORKERS)
        alone = []
        for _ in range(ALONE):
            time.sleep(APART_S)
            alone += cloud.bring_up(1)[1]
        cloud.set_workers(0)
        rows = []
        for duel in duels:
            rows.append(duel.straight.row(f"Mistral alone, clients: {duel.workers}"))
            rows.append(duel.vimmon.row(f"vimmon, workers: {duel.workers}"))
        headings = ("", "created/s", "arrived/s", "CPU ms a start", *duels[0].vimmon.cpu_ms[0])
        show(f"{given.vims} starts at once; arrived: REACHABLE, or for Mistral alone: its action runs", headings, rows)
        ours = next(duel for duel in duels if duel.workers == WORKERS)
        show_steps(alone, ours.started)
        cloud.conductor.stop()
        if given.executions:
            show_rest(rest(cloud, given.executions, seconds=given.seconds))
    return conclude(
        [
            Goal("created, of what Mistral alone creates", ours.share(ours.vimmon.created), SHARE, " ×"),
            Goal("REACHABLE, of what Mistral alone creates", ours.share(ours.vimmon.arrived), SHARE, " ×"),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often starts are measured (default 3)")
    parser.add_argument("--vims", type=int, default=40, help="how many are started at once (default 40)")
    parser.add_argument("--executions", type=int, default=900, help="how many are at rest; 0: none (default 900)")
    parser.add_argument("--rest-only", action="store_true", help="nothing but those at rest")
    parser.add_argument("--seconds", type=float, default=PERIOD_S, help="how long they are (default 120)")
    parser.add_argument("--short", action="store_true", help="few of everything: a try, in a minute and a half")
    given = parser.parse_args()
    if given.short:
        given.rounds, given.vims, given.executions, given.seconds = 1, 6, 90, 10
    for missing in (postgres_missing(), rabbitmq_missing()):
        if missing:
            sys.stderr.write(f"error: {missing}\n")
            return 1
    console().print(machine(PACKAGES, programs=(("redis-server", "--version"), ("psql", "--version"))))
    folder = Path(tempfile.mkdtemp(prefix="vimmon-bench-"))
    try:
        return measure(given, folder)
    except (Late, ServerDidNotStart) as trouble:
        sys.stderr.write(f"error: {trouble}\n")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
