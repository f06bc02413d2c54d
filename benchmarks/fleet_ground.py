"""What the benchmark of a fleet stands on: Redis, PostgreSQL, a conductor, executors, and clouds that fall silent."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own
from sqlalchemy import select, text

from benchmarks.fleet_network import Network, address
from benchmarks.ground import Site, site
from benchmarks.measure import Pids
from benchmarks.programs import Talking
from vimmon.embedded.redis import RedisServer
from vimmon.registry.models import STATUS_CHANGES, VIMS

MIB = 1024 * 1024
STEP = 500  # VIMs that are handed over at once
READY_S = 600.0
HAND_OVER_S = 120.0
CONDUCTOR = ("--rpc", "1", "--workers", "0")
PARTS = ("rpc", "reconcile", "upkeep")


class NotAsItShould(Exception):
    """The run says nothing, or says that something was lost."""


@dataclass
class Fleet:
    """`changed`: of each VIM, by its number, when its cloud fell silent and when it answered again."""

    place: Site
    network: Network
    executors: list[Talking]
    changed: dict[int, list[float]] = field(default_factory=dict)

    def change(self, silent: list[int], revived: list[int]) -> None:
        self.network.silence(silent)
        self.network.revive(revived)
        now = time.time()
        for number in (*silent, *revived):
            self.changed.setdefault(number, []).append(now)

    def tell(self) -> dict[str, Counter[int]]:
        """All lags, in ms, of all executors together."""
        found: dict[str, Counter[int]] = {}
        for executor in self.executors:
            for what, counts in executor.ask(order="tell")["late_ms"].items():
                found.setdefault(what, Counter()).update(dict(counts))
        return found

    def parts(self) -> Mapping[str, Pids]:
        conductor = self.place.conductors[0].pid
        named = {f"conductor: {part}": partial(_children, conductor, part) for part in PARTS}
        return {
            "executors": lambda: [executor.pid for executor in self.executors],
            **named,
            "conductor: supervisor": lambda: [conductor],
            "Redis": lambda: [self.place.redis.pid],
            "PostgreSQL": self.place.database_pids,
            "clouds": lambda: [self.network.clouds.pid],
        }

    def memory_mib(self) -> dict[str, float]:
        """Resident; of processes that share what they were forked with, each has its part of that."""
        conductor = [pid for name, pids in self.parts().items() if name.startswith("conductor") for pid in pids()]
        return {
            "executor": max(_rss(executor.pid) for executor in self.executors),
            "conductor": sum(psutil.Process(pid).memory_full_info().pss for pid in conductor) / MIB,
            "Redis": _rss(self.place.redis.pid),
        }

    def noticed_s(self) -> list[float]:
        """How long after each change of a cloud the row had it, in ascending order.

        Raises NotAsItShould where the rows, or what became of them, are not as the clouds were.
        """
        query = select(STATUS_CHANGES.c.vim_id, STATUS_CHANGES.c.new, STATUS_CHANGES.c.at).order_by(STATUS_CHANGES.c.id)
        said: dict[str, list[tuple[str, datetime]]] = {}
        with self.place.engine.connect() as connection:
            for vim_id, new, at in connection.execute(query):
                said.setdefault(vim_id, []).append((new, at))
        noticed, wrong = [], []
        for number, vim in enumerate(self.place.vims):
            times = self.changed.get(number, [])
            became = said.get(vim["vim_id"], [])
            wanted = ["REACHABLE", "UNREACHABLE", "REACHABLE"][: len(times) + 1]
            if [new for new, _ in became] != wanted:
                wrong.append(f"{address(number)}: {[new for new, _ in became]}, not {wanted}")
            else:
                rows = [at.replace(tzinfo=UTC).timestamp() for _, at in became[1:]]
                noticed += [at - then for at, then in zip(rows, times, strict=True)]
        if wrong:
            raise NotAsItShould(
                f"of {len(wrong)} VIMs the history is another than their clouds': {'; '.join(wrong[:5])}"
            )
        return sorted(noticed)

    def as_they_are(self) -> bool:
        """Whether every row says what its cloud is."""
        silent = {self.place.vims[number]["vim_id"] for number, times in self.changed.items() if len(times) % 2}
        with self.place.engine.connect() as connection:
            rows = connection.execute(select(VIMS.c.id, VIMS.c.status)).all()
        return all(status == ("UNREACHABLE" if vim_id in silent else "REACHABLE") for vim_id, status in rows)

    def restarted(self) -> int:
        """How many VIMs are not watched by the action any more that they were handed over with."""
        with self.place.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM vims WHERE generation > 1")).scalar_one())


@contextmanager
def fleet(kind: str, folder: Path, *, vims: int, executors: int, interval_s: float) -> Iterator[Fleet]:
    """All VIMs are REACHABLE when it begins."""
    with ExitStack() as stack:
        socket = folder / "redis.sock"
        server = stack.enter_context(RedisServer(folder, options=("--unixsocket", str(socket))))
        place = stack.enter_context(site(f"fleet-{kind}", "postgresql", server, folder))
        network = Network(stack)
        place.populate(vims, "all")
        with place.engine.begin() as connection:
            connection.execute(text("UPDATE vims SET execution_id = action_id"))
        with place.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE vims"))
        place.start_conductor()  # without a reconciler: it would start anew whom nobody has been handed yet
        addressed = [
            {**vim, "auth_url": f"http://{address(number)}:{network.port}/"} for number, vim in enumerate(place.vims)
        ]
        url = f"unix://{socket}?db=0"
        started = []
        for number in range(executors):
            name = f"executor-{number}"
            one = Talking("benchmarks.fleet_executor", url, place.name, name, before=network.inside)
            stack.callback(one.stop)
            started.append(one)
        each = vims // executors
        probe = {"kind": kind, "interval_s": interval_s}
        for number, one in enumerate(started):
            for first in range(number * each, (number + 1) * each, STEP):
                some = addressed[first : min(first + STEP, (number + 1) * each)]
                one.ask(order="hand_over", vims=some, probe=probe, within_s=HAND_OVER_S)
            _until(lambda one=one: one.ask(order="tell")["acknowledged"] == each, f"{each} VIMs REACHABLE")  # type: ignore[misc]
        place.stop_conductors()
        place.start_conductor(CONDUCTOR)
        yield Fleet(place, network, started)


def _until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_S
    while not look():
        if time.monotonic() > deadline:
            raise NotAsItShould(f"after {READY_S:g} s still not: {what}")
        time.sleep(0.5)


def _children(pid: int, part: str) -> list[int]:
    """Those of the supervisor that are this part, by the names that they give themselves."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if f"vimmon-{part}" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


def _rss(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / MIB
