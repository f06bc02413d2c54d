"""What is wrong with vimmon itself, as far as a conductor can see: so that nobody believes a status nobody stands for.

The thresholds are those of the alerts in `deploy/prometheus/rules.yml`. No I/O.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from vimmon.conductor.reading import Reading

RECONCILED_S = 120.0
WAITING_MAX = 1000


@dataclass(frozen=True)
class Trouble:
    """`grave`: the statuses cannot be relied on."""

    text: str
    remedy: str
    grave: bool = True


def troubles(reading: Reading | None, *, redis: str = "", database: str = "", vims: int = 0) -> Iterator[Trouble]:
    """The worst first. `redis`, `database`: why what they know is missing; `vims`: how many are registered."""
    if database:
        yield Trouble(f"The database cannot be asked: {database}", "Without it no status is written, and none shown")
    if redis:
        yield Trouble(f"Redis cannot be asked: {redis}", "Without it no status is reported: what is shown may be old")
    if reading is None:
        return
    if not reading.conductors:
        yield Trouble(
            "No conductor answers the actions: no status is written",
            "Start one with --rpc 1 or more, and look into its log: python -m vimmon.conductor",
        )
    if vims and not reading.executors:
        yield Trouble(
            "No executor lives: nobody watches a VIM",
            "See that Mistral's executors run, with vimmon installed and VIMMON_REDIS_URL set",
        )
    for name, one in sorted(reading.executors.items()):
        if one.degraded:
            yield Trouble(
                f"The executor {name} reaches none of its VIMs, and suspects itself: it calls none UNREACHABLE",
                "Look at the network of its host",
            )
    if reading.reconciled_s is None or reading.reconciled_s > RECONCILED_S:
        ago = "yet" if reading.reconciled_s is None else f"for {reading.reconciled_s / 60:.0f} minutes"
        yield Trouble(
            f"Wanted and held monitors have not been compared {ago}: who died is not noticed",
            "See that a conductor runs without --no-reconcile, and look into its log",
        )
    yield from _queues(reading)


def _queues(reading: Reading) -> Iterator[Trouble]:
    if reading.requests > WAITING_MAX:
        yield Trouble(f"Calls of actions that wait: {reading.requests:,}", "Start another conductor", grave=False)
    if reading.dead:
        yield Trouble(
            f"Calls of actions were put aside: {reading.dead:,}", "Look at them: LRANGE …:rpc:dead 0 -1", grave=False
        )
    if failed := reading.jobs.get("failed", 0):
        yield Trouble(
            f"Jobs for Mistral that failed in every try within the last hour: {failed:,}",
            "See that Mistral answers, and look into the conductor's log",
            grave=False,
        )
