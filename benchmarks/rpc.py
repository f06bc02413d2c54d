"""`make bench-rpc`: what a call of `update_vim` costs, beside RPC over a message bus and beside Redis's own limit.

Callers are the product's own, each with one call in flight; the conductor is a process of its own. All of what is
compared takes turns in the same run, and each figure is the median of the rounds. Exit code 1 when a target is missed
or an answer was wrong.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own

from benchmarks.ground import Site, site
from benchmarks.measure import Meter, Pids, Sample, redis_benchmark, with_children
from benchmarks.programs import Talking
from benchmarks.rpc_report import BUS, CALLERS, CHANGED, UNCHANGED, Case, Samples, goals, print_samples
from benchmarks.table import conclude, console, machine
from tests.support.services import postgres_missing, rabbitmq_missing, service_url
from vimmon.embedded.redis import RedisServer

SLOW_CALLERS = 512  # enough for two conductors, each with a full batch in hand and another waiting
SLOW_COMMIT_S = 0.02
PACKAGES = ("redis", "hiredis", "SQLAlchemy", "psycopg", "oslo.messaging", "pydantic", "orjson")
QUIET = {"PYTHONWARNINGS": "ignore"}  # oslo.service says at each start that eventlet is old


class WrongAnswer(Exception):
    """The answers, or what the database says afterwards, are not what the calls said."""


class Bus:
    """A server and clients of the message bus, on the same database."""

    def __init__(self, where: Site, url: str, stack: ExitStack, number: int) -> None:
        self._where = where
        common = (url, f"vimmon_bench_{where.name}_{os.getpid()}")
        self._server = Talking("benchmarks.bus", "server", *common, where.url, env=QUIET)
        stack.callback(self._server.stop)
        self.clients = Talking("benchmarks.bus", "client", *common, str(where.populate(number, "bus")), env=QUIET)
        stack.callback(self.clients.stop)
        self._server.hear()

    def call(self, many: int, *, seconds: float) -> Sample:
        """Raises WrongAnswer."""
        parts: dict[str, Pids] = {
            "client": lambda: with_children(self.clients.pid),
            "server": lambda: with_children(self._server.pid),
            "bus": _rabbitmq_pids,
            "database": self._where.database_pids,
        }
        return _measured(self.clients, parts, many=many, seconds=seconds)


class Side:
    """One installation and the programs that call it."""

    def __init__(self, where: Site, stack: ExitStack, *, bus: str | None, number: int) -> None:
        self.where = where
        where.start_conductor()
        arguments = (where.redis.url, where.name, str(where.populate(number, "vimmon")))
        self.callers = Talking("benchmarks.callers", *arguments)
        stack.callback(self.callers.stop)
        self.bus = Bus(where, bus, stack, number) if bus else None

    def call(self, many: int, *, seconds: float, changed: bool) -> Sample:
        """A run of vimmon's own callers. Raises WrongAnswer."""
        parts: dict[str, Pids] = {
            "client": lambda: with_children(self.callers.pid),
            "server": self.where.conductor_pids,
            "bus": lambda: [self.where.redis.pid],
            "database": self.where.database_pids,
        }
        return _measured(self.callers, parts, many=many, seconds=seconds, changed=changed)

    def check(self) -> int:
        """How many rows say what the calls said last. Raises WrongAnswer when one does not."""
        said = self.callers.ask(order="tell")
        if self.bus is not None:
            said |= self.bus.clients.ask(order="tell")
        rows = self.where.rows(list(said))
        wrong = [
            f"{vim_id}: said {said[vim_id]}, stored {rows.get(vim_id)}"
            for vim_id in said
            if rows.get(vim_id) != said[vim_id]
        ]
        if wrong:
            raise WrongAnswer(f"{self.where.name}: {len(wrong)} rows are not as was said: {wrong[0]}")
        changes = sum(seq for _, seq, holder in said.values() if holder is not None)
        if changes != self.where.changes():
            raise WrongAnswer(f"{self.where.name}: {changes} changes were said, {self.where.changes()} are recorded")
        return len(said)


def _measured(program: Talking, parts: dict[str, Pids], **order: Any) -> Sample:
    with Meter(parts) as meter:
        done = program.ask(order="talk", **order)
    if done["wrong"]:
        raise WrongAnswer(done["wrong"][0])
    cpu_us = {part: used_s * 1e6 / done["calls"] for part, used_s in meter.used_s.items()}
    return Sample(done["calls"] / done["seconds"], done["p50_ms"], done["p99_ms"], cpu_us)


def _rabbitmq_pids() -> list[int]:
    return [one.pid for one in psutil.process_iter(["name"]) if one.info["name"] == "beam.smp"]


@contextmanager
def sides(redis: RedisServer, folder: Path, kinds: list[str]) -> Iterator[tuple[dict[str, Side], Side | None]]:
    """A side for each kind of database, and one whose database takes its time."""
    bus = None if rabbitmq_missing() else service_url("VIMMON_TEST_RABBITMQ_URL")
    with ExitStack() as stack:
        made = {
            kind: Side(stack.enter_context(site(kind, kind, redis, folder)), stack, bus=bus, number=max(CALLERS))
            for kind in kinds
        }
        slow = None
        if "postgresql" in kinds:
            slowed = stack.enter_context(site("slow", "postgresql", redis, folder, commit_s=SLOW_COMMIT_S))
            slow = Side(slowed, stack, bus=None, number=SLOW_CALLERS)
        yield made, slow


def measure(given: argparse.Namespace, folder: Path) -> tuple[Samples, dict[int, float], dict[int, float]]:
    """The samples of every case; Redis's GETs per second by clients; calls per second by conductors."""
    samples, limits, slow_rates = Samples(), defaultdict(list), defaultdict(list)
    kinds = [kind for kind in ("sqlite", "postgresql") if kind == "sqlite" or not postgres_missing()]
    with RedisServer(folder / "redis") as redis, sides(redis, folder, kinds) as (by_kind, slow):
        for side in by_kind.values():
            side.call(max(CALLERS), seconds=0.5, changed=True)  # connections, caches, compiled statements
            if side.bus is not None:
                side.bus.call(max(CALLERS), seconds=1)
        for round_ in range(given.rounds):
            for kind, side in by_kind.items():
                for callers in CALLERS:
                    if side.bus is not None:
                        samples[Case(kind, callers, BUS)].append(side.bus.call(callers, seconds=given.seconds))
                    for what in (CHANGED, UNCHANGED):
                        sample = side.call(callers, seconds=given.seconds, changed=what == CHANGED)
                        samples[Case(kind, callers, what)].append(sample)
            for callers in CALLERS:
                if program := shutil.which("redis-benchmark"):
                    requests = 20_000 if callers == 1 else 60_000
                    limits[callers].append(redis_benchmark(program, redis.port, clients=callers, requests=requests))
            if slow is not None:
                for conductors in (1, 2):
                    slow.where.stop_conductors(down_to=conductors)
                    while len(slow.where.conductors) < conductors:
                        slow.where.start_conductor()
                    sample = slow.call(SLOW_CALLERS, seconds=given.seconds, changed=True)
                    slow_rates[conductors].append(sample.per_s)
            console().print(f"round {round_ + 1} of {given.rounds} done")
        checked = sum(side.check() for side in (*by_kind.values(), *([slow] if slow else [])))
        console().print(f"the databases say of all {checked} VIMs what the calls said last, change by change")
    return (
        samples,
        {callers: statistics.median(rates) for callers, rates in limits.items()},
        {conductors: statistics.median(rates) for conductors, rates in slow_rates.items()},
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rpc", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured (default 3)")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each measurement lasts (default 1.5)")
    parser.add_argument("--short", action="store_true", help="one round of half a second each: a try")
    given = parser.parse_args()
    if given.short:
        given.rounds, given.seconds = 1, 0.5
    for variable in [name for name in os.environ if name.startswith("VIMMON_") and not name.startswith("VIMMON_TEST_")]:
        del os.environ[variable]
    console().print(machine(PACKAGES, programs=(("redis-server", "--version"), ("psql", "--version"))))
    folder = Path(tempfile.mkdtemp(prefix="vimmon-bench-"))
    try:
        samples, limits, slow = measure(given, folder)
    except WrongAnswer as wrong:
        sys.stderr.write(f"error: {wrong}\n")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print_samples(samples, limits)
    if slow:
        console().print(f"20 ms a transaction: {slow[1]:,.0f} calls/s with one conductor, {slow[2]:,.0f} with two")
    return conclude(goals(samples, limits, slow))


if __name__ == "__main__":
    sys.exit(main())
