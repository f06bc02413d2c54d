"""What a run took: the CPU time of processes with all their children, and what stands in the middle of many figures."""

import contextlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own
from redis import Redis

Pids = Callable[[], Iterable[int]]


def with_children(pid: int) -> list[int]:
    """The process and all below it."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def cpu_s(pids: Iterable[int]) -> float:
    """What these processes have used until now, in the kernel and out of it."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            total += max(times.user + times.system, _exact_s(pid))
    return total


def _exact_s(pid: int) -> float:
    """The same to the nanosecond, where the kernel counts that, and without threads that have ended: times come in
    steps of 10 ms, which is much for one of many backends."""
    total = 0
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


@dataclass
class Meter:
    """The CPU time that each part uses while the context lasts, and the wall time. `parts`: a name → its processes."""

    parts: Mapping[str, Pids]
    used_s: dict[str, float] = field(default_factory=dict)
    wall_s: float = 0.0

    def __enter__(self) -> "Meter":
        self._before = {name: cpu_s(pids()) for name, pids in self.parts.items()}
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = time.monotonic() - self._started
        # Who began meanwhile has used nothing before; nobody ends while it is measured.
        self.used_s = {name: max(0.0, cpu_s(pids()) - self._before[name]) for name, pids in self.parts.items()}


@dataclass(frozen=True)
class Sample:
    """One run. Latencies are in ms; `cpu_us` is per operation, by part."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: Mapping[str, float]

    @property
    def all_cpu_us(self) -> float:
        return sum(self.cpu_us.values())


def middle(samples: Sequence[Sample]) -> Sample:
    """The median of each figure by itself."""
    return Sample(
        statistics.median(one.per_s for one in samples),
        statistics.median(one.p50_ms for one in samples),
        statistics.median(one.p99_ms for one in samples),
        {part: statistics.median(one.cpu_us[part] for one in samples) for part in samples[0].cpu_us},
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of figures in ascending order; 0 of none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


SLOWLOG = ("--slowlog-log-slower-than", "100", "--slowlog-max-len", "100000")  # options of a Redis, for `slow_commands`


def slow_commands(redis: Redis) -> list[dict[str, Any]]:
    """Redis's commands of more than 100 µs since their log was begun. Raises ValueError where not all are kept."""
    found: list[dict[str, Any]] = redis.slowlog_get(-1)
    if len(found) >= int(SLOWLOG[-1]):
        raise ValueError(f"more than {SLOWLOG[-1]} slow commands: the first are not known any more")
    return found


def redis_benchmark(program: str, port: int, *, clients: int, requests: int) -> float:
    """GETs per second of Redis's own benchmark, each client with one command in flight. Raises CalledProcessError."""
    command = [program, "-p", str(port), "-c", str(clients), "-n", str(requests), "-t", "get", "--csv", "-d", "60"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    line = next(line for line in said.stdout.splitlines() if line.startswith('"GET'))
    return float(line.split(",")[1].strip('"'))


def cpu_of_program(*arguments: str) -> float:
    """The CPU seconds of a Python that is run with these arguments, all of its start included.

    Raises CalledProcessError.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
