"""How a benchmark says what it found: on which machine, a table, and each figure beside its target."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

WIDTH = 160  # in a file or a pipe


@dataclass(frozen=True)
class Goal:
    """A figure and what it must reach; `at_most`: what it must not go beyond. `figure` None: not measured here."""

    what: str
    figure: float | None
    target: float
    unit: str = ""
    at_most: bool = False

    @property
    def missed(self) -> bool:
        if self.figure is None:
            return False
        return self.figure > self.target if self.at_most else self.figure < self.target


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)


def machine(packages: Sequence[str], *, programs: Sequence[Sequence[str]] = ()) -> str:
    """Where this runs, and on what: `programs` are commands that print their version."""
    parts = [f"{os.cpu_count()} cores ({_processor()})", platform.platform(terse=True), f"Python {_python()}"]
    parts += [f"{package} {_version(package)}" for package in packages]
    for command in programs:
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        parts.append(said.stdout.strip().splitlines()[0] if said.stdout.strip() else f"{command[0]} ?")
    return ", ".join(parts)


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column is text, the others are figures."""
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def conclude(goals: Sequence[Goal]) -> int:
    """Prints every goal. The exit code: 1 when one was missed."""
    rows = []
    for goal in goals:
        figure = "not measured" if goal.figure is None else figure_of(goal.figure, goal.unit)
        bound = f"{'≤' if goal.at_most else '≥'} {figure_of(goal.target, goal.unit)}"
        verdict = "-" if goal.figure is None else "MISSED" if goal.missed else "reached"
        rows.append((goal.what, figure, bound, verdict))
    show("Beside the targets", ("what", "measured", "target", ""), rows)
    return 1 if any(goal.missed for goal in goals) else 0


def figure_of(number: float, unit: str = "") -> str:
    """Three digits of it, or all where it is larger."""
    digits = 0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2 if abs(number) >= 1 else 3
    return f"{number:,.{digits}f}{unit}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _python() -> str:
    return platform.python_version()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
