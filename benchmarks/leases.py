"""`make bench-leases`: what the minute check of leases costs an executor, with 100, 1,000 and 10,000 VIMs held.

A real host watches them, on a Redis of its own; its check is run again and again, as the wheel of its checks would,
with the lease and the status of every VIM as they should be. Beside it stands what Redis itself needs for an MGET of as
many keys, and what its slow log says of the longest command. All at once, and a sixtieth at a time, as a host does: the
target of CPU is for all at once. Exit code 1 when a target is missed or a check went wrong.
"""

import argparse
import asyncio
import random
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, cast

from redis import Redis

from benchmarks.measure import SLOWLOG, cpu_s, redis_benchmark, slow_commands
from benchmarks.table import Goal, conclude, console, figure_of, machine, show
from vimmon.actions.connection import connect
from vimmon.actions.host import Host
from vimmon.actions.monitor import Assignment
from vimmon.actions.probing import Prober
from vimmon.embedded.redis import RedisServer
from vimmon.lease.model import CommittedStatus, Lease
from vimmon.lease.store import LeaseStore
from vimmon.probes import Outcome, TcpProbe
from vimmon.settings import Settings
from vimmon.vim import VimStatus

HELD = (100, 1_000, 10_000)
SLOTS = 60  # that a host spreads its VIMs over
CASES = [*((number, 1) for number in HELD), *((number, SLOTS) for number in HELD if number >= 1_000)]
EXECUTOR = "bench:1:0"
PROBE = TcpProbe(auth_url="http://192.0.2.1:5000/v3")
UP = Outcome(status=VimStatus.REACHABLE, reason="connected in 1 ms")
SLOWEST_MS = 5
HEADINGS = ("", "VIMs/s", "executor CPU µs/VIM", "Redis CPU µs/VIM", "slowest command ms")


@dataclass(frozen=True)
class Checked:
    """One run: VIMs checked a second, and the CPU µs of each, in the executor and in Redis."""

    per_s: float
    executor_us: float
    redis_us: float
    slowest_ms: float  # of the commands that the check sends


class WrongCheck(Exception):
    """A monitor left, or had something to say, where everything was as it should be."""


def held_by(host: Host, redis: Redis, settings: Settings, number: int) -> None:
    """Gives the host so many VIMs whose status is acknowledged, and Redis what it must say of them."""
    leases, statuses = {}, {}
    for i in range(number):
        vim_id = f"{i:08}-0000-4000-8000-000000000000"
        host.take_on(Assignment(vim_id, f"a-{i:034}", 1, PROBE))
        monitor = host._monitors[vim_id]
        while (said := monitor.observe(UP)) is None:
            pass
        status = CommittedStatus(1, said.seq or 0, VimStatus.REACHABLE, monitor.holder)
        monitor.said, monitor.acknowledged = None, status
        leases[vim_id], statuses[vim_id] = Lease(1, monitor.assignment.action_id), status
    store = LeaseStore(redis, host._keys, ttl_s=settings.lease_ttl_s)
    ids = list(leases)
    for start in range(0, number, 500):
        some = ids[start : start + 500]
        lease_of, status_of = {i: leases[i] for i in some}, {i: statuses[i] for i in some}
        store.advance(lease_of, status_of, as_of_ms=store.now_ms())


async def check(server: RedisServer, number: int, *, seconds: float, parts: int) -> Checked:
    """The host's own check, of so large a part of its VIMs at once, as often as it can be done in so long. Raises
    WrongCheck."""
    settings = Settings.model_validate({"redis_url": server.url})
    client, redis = connect(settings), Redis.from_url(server.url)
    redis.flushall()  # this benchmark's own
    async with Prober() as prober:
        host = Host(settings, client, prober, EXECUTOR, rng=random.Random(7))
        held_by(host, redis, settings, number)
        wheel, rounds = cast(Any, host._checks._wheel), 0
        all_of_them = list(host._monitors)
        turns = cycle([all_of_them[part::parts] for part in range(parts)])
        wheel.wait_s = lambda now: 0.0  # it is always time
        wheel.due = lambda now: next(turns)
        for _ in range(parts):
            await host._check_leases()
        redis.config_resetstat()
        redis.slowlog_reset()
        before, redis_before, started = time.process_time(), cpu_s([server.pid]), time.perf_counter()
        while time.perf_counter() - started < seconds:
            for _ in range(parts):
                await host._check_leases()
            rounds += 1
        wall_s, used_s = time.perf_counter() - started, time.process_time() - before
        redis_s = cpu_s([server.pid]) - redis_before
        if len(host.held) != number or host._caller._pending:
            raise WrongCheck(f"of {number} VIMs {len(host.held)} are held, {len(host._caller._pending)} have news")
        slowest_ms = max((one["duration"] / 1000 for one in slow_commands(redis)), default=0.0)
        read = int(cast(Any, redis.info("stats"))["keyspace_hits"])
        if read != 2 * number * rounds:
            raise WrongCheck(f"{rounds} checks of {number} VIMs read {read} keys")
    await client.aclose()
    redis.close()
    checked = number * rounds
    return Checked(checked / wall_s, used_s / checked * 1e6, redis_s / checked * 1e6, slowest_ms)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leases", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured (default 5)")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each measurement lasts (default 1.5)")
    parser.add_argument("--short", action="store_true", help="one round of half a second each: a try")
    given = parser.parse_args()
    if given.short:
        given.rounds, given.seconds = 1, 0.5
    console().print(machine(("redis", "hiredis"), programs=(("redis-server", "--version"),)))
    folder = Path(tempfile.mkdtemp(prefix="vimmon-bench-"))
    found: dict[tuple[int, int], list[Checked]] = {case: [] for case in CASES}
    limits: list[float] = []
    try:
        with RedisServer(folder, options=SLOWLOG) as server:
            for _ in range(given.rounds):
                for number, parts in CASES:
                    found[number, parts].append(asyncio.run(check(server, number, seconds=given.seconds, parts=parts)))
                if program := shutil.which("redis-benchmark"):
                    limits.append(redis_benchmark(program, server.port, clients=50, requests=50_000))
    except WrongCheck as wrong:
        sys.stderr.write(f"error: {wrong}\n")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows, goals = [], []
    for (number, parts), runs in found.items():
        names = ("per_s", "executor_us", "redis_us")
        figures = [statistics.median(getattr(run, name) for run in runs) for name in names]
        slowest_ms = max(run.slowest_ms for run in runs)
        what = f"{number:,} VIMs held" + (f", a {parts}th at a time" if parts > 1 else "")
        rows.append((what, *map(figure_of, (*figures, slowest_ms))))
        if number >= 1_000 and parts == 1:
            goals.append(Goal(f"{number:,} VIMs: CPU of the executor per VIM", figures[1], 3, " µs", at_most=True))
        if number == max(HELD):
            goals.append(Goal(f"the slowest Redis command, {what}", slowest_ms, SLOWEST_MS, " ms", at_most=True))
    if limits:
        rows.append(("redis-benchmark GET, 50 clients", figure_of(statistics.median(limits)), "", "", ""))
    show("The minute check: lease and status", HEADINGS, rows)
    return conclude(goals)


if __name__ == "__main__":
    sys.exit(main())
