"""`python -m benchmarks.soak_executor REDIS_URL PREFIX VIMS KIND NETWORK PORT`: an executor without Mistral.

Its host is handed its monitors directly; all else is as in an executor. Orders and answers are JSON, a line each.
"""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from vimmon.actions.connection import connect
from vimmon.actions.host import Host
from vimmon.actions.monitor import Assignment
from vimmon.actions.presence import new_executor_id
from vimmon.actions.probing import Prober
from vimmon.probes import parse_probe
from vimmon.settings import Settings
from vimmon.vim import VimStatus

ADDRESSES_A_NET = 250
ONE_IN = 10  # those of a slot are late together


class Soaked:
    """A host whose metrics note how many probes were started, and how late, in ms: of one in ten. What that costs is in
    the figures of the host: it is kept as it comes, and counted when it is asked for."""

    def __init__(self, host: Host, prober: Prober) -> None:
        self._host = host
        self._prober = prober
        self._late_s: list[float] = []
        self._queued = 0
        self._started = 0
        metrics = host._metrics
        began = metrics.began

        def noted(late_s: list[float]) -> None:
            began(late_s)
            self._started += len(late_s)
            self._late_s += late_s[::ONE_IN]
            self._queued = max(self._queued, prober.waiting)

        metrics.began = noted  # type: ignore[method-assign,assignment]  # to look over its shoulder

    def take_on(self, probe: dict[str, Any], network: str, port: str, vims: list[dict[str, Any]]) -> dict[str, Any]:
        """Each on an address of its own: `network` is what all begin with."""
        for i, vim in enumerate(vims):
            url = f"http://{network}.{i // ADDRESSES_A_NET}.{i % ADDRESSES_A_NET + 1}:{port}/"
            parsed = parse_probe({**probe, "auth_url": url})
            self._host.take_on(Assignment(vim["vim_id"], vim["action_id"], vim["generation"], parsed))
        return {}

    def begin(self) -> dict[str, Any]:
        """From now on is counted."""
        self._host._rounds.tell_counts()
        self._late_s.clear()
        self._queued = self._started = 0
        return {}

    def tell(self) -> dict[str, Any]:
        """`acknowledged`: of how many it is REACHABLE that the conductor has; `stale`: of how many the last probe ended
        longer ago than an interval, with its jitter, and a timeout."""
        self._host._rounds.tell_counts()
        now = asyncio.get_running_loop().time()
        monitors, seen = self._host._monitors, self._host._presence._seen
        ended = {vim_id: now - seen[vim_id] for vim_id in monitors}
        return {
            "held": len(self._host.held),
            "acknowledged": sum(_stands(one.acknowledged) for one in monitors.values()),
            "stale": sum(
                ended[vim_id] > 1.1 * one.assignment.probe.interval_s + one.assignment.probe.timeout_s
                for vim_id, one in monitors.items()
            ),
            "late_ms": sorted(Counter(int(lag_s * 1000) for lag_s in self._late_s).items()),
            "started": self._started,
            "queued": self._queued,
        }


def _stands(acknowledged: Any) -> bool:
    return acknowledged is not None and acknowledged.status == VimStatus.REACHABLE


async def main(url: str, prefix: str, vims: str, kind: str, network: str, port: str) -> None:
    settings = Settings.model_validate({"redis_url": url, "prefix": prefix})
    redis = connect(settings)
    async with Prober() as prober, asyncio.TaskGroup() as tasks:
        host = Host(settings, redis, prober, new_executor_id("soak"))
        running = tasks.create_task(host.run())
        soaked = Soaked(host, prober)
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            match order["order"]:
                case "take_on":
                    probe = {"kind": kind, "interval_s": order["interval_s"]}
                    done = soaked.take_on(probe, network, port, json.loads(Path(vims).read_text(encoding="utf-8")))
                case "begin":
                    done = soaked.begin()
                case _:
                    done = soaked.tell()
            print(json.dumps(done), flush=True)
        running.cancel()
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
