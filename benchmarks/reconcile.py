"""`make bench-reconcile`: what a pass of the reconciler takes where nothing is to be done, with 100,000 VIMs.

Redis and PostgreSQL are real and full, the executors are what they would have written. Then the plans of what vimmon
asks SQLite, PostgreSQL and MariaDB again and again. Exit code 1 when a target is missed, when a pass finds something to
do, or when reconciler or conductor ask for a whole table. It needs PostgreSQL.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.at_ease import EXECUTORS, put_at_ease
from benchmarks.ground import site
from benchmarks.measure import SLOWLOG, cpu_s, percentile, slow_commands
from benchmarks.plans import show_plans
from benchmarks.programs import Silent, Talking
from benchmarks.table import Goal, conclude, console, figure_of, machine, show
from tests.support.services import postgres_missing
from vimmon.embedded.redis import RedisServer

CPU_MAX_S, MGET_P99_MAX_MS = 1, 5
PATIENCE_S = 300  # with a first pass, on a busy machine
FIGURES = ("cpu_s", "redis_s", "database_s", "wall_s", "more_mib")
HEADINGS = ("", "reconciler CPU s", "Redis CPU s", "database CPU s", "wall s", "MiB above idle")


class SomethingToDo(Exception):
    """A pass found work where there was none."""


def passes(server: RedisServer, folder: Path, *, vims: int, rounds: int) -> list[dict[str, float]]:
    """What each took; the first one knows nothing yet, and refreshes all keys. Raises SomethingToDo."""
    with ExitStack() as stack:
        place = stack.enter_context(site("reconcile", "postgresql", server, folder))
        place.populate(vims, "all")
        put_at_ease(place)
        reconciler = Talking("benchmarks.one_reconciler", server.url, place.url, place.name)
        stack.callback(reconciler.stop)
        found = []
        for _ in range(rounds + 1):
            redis_s, database_s = cpu_s([server.pid]), cpu_s(place.database_pids())
            took: dict[str, Any] = reconciler.ask(within_s=PATIENCE_S)
            if not took.pop("nothing"):
                raise SomethingToDo("a pass found something to do where all was well")
            used = {"redis_s": cpu_s([server.pid]) - redis_s, "database_s": cpu_s(place.database_pids()) - database_s}
            found.append({**took, **used})
        return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reconcile", description=__doc__)
    parser.add_argument("--vims", type=int, default=100_000, help="how many (default 100000)")
    parser.add_argument("--rounds", type=int, default=9, help="how many passes are measured (default 9)")
    parser.add_argument("--plans", type=int, default=20_000, help="with how many VIMs plans are made; 0: none")
    parser.add_argument("--short", action="store_true", help="10,000 VIMs, three passes: a try")
    given = parser.parse_args()
    if given.short:
        given.vims, given.rounds = 10_000, 3
    if missing := postgres_missing():
        sys.stderr.write(f"error: {missing}\n")
        return 1
    console().print(machine(("redis", "hiredis", "SQLAlchemy", "psycopg"), programs=(("redis-server", "--version"),)))
    folder = Path(tempfile.mkdtemp(prefix="vimmon-bench-"))
    try:
        with RedisServer(folder, options=SLOWLOG) as server:
            first, *others = passes(server, folder, vims=given.vims, rounds=given.rounds)
            with Redis.from_url(server.url) as redis:
                slow = slow_commands(redis)
            whole = show_plans(server, folder, vims=given.plans) if given.plans else []
    except (SomethingToDo, Silent) as wrong:
        sys.stderr.write(f"error: {wrong}\n")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    middle = {figure: statistics.median(one[figure] for one in others) for figure in FIGURES}
    rows = [
        ("the first, which refreshes every key", *(figure_of(first[figure]) for figure in FIGURES)),
        (f"a pass, median of {len(others)}", *(figure_of(middle[figure]) for figure in FIGURES)),
    ]
    show(f"{given.vims:,} VIMs in {EXECUTORS} executors, nothing to do", HEADINGS, rows)
    mgets = sorted(one["duration"] / 1000 for one in slow if one["command"].startswith(b"MGET"))
    console().print(f"MGETs of more than 0.1 ms: {len(mgets):,}; the longest took {figure_of(mgets[-1], ' ms')}")
    return conclude(
        [
            Goal("CPU of a pass", middle["cpu_s"], CPU_MAX_S, " s", at_most=True),
            Goal("MGETs, p99", percentile(mgets, 0.99), MGET_P99_MAX_MS, " ms", at_most=True),
            Goal("what reconciler and conductor ask of a whole table", len(whole), 0, at_most=True),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
