"""Tells whether processes that are nobody's children any more have ended."""

import time
from collections.abc import Iterable

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own


def has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more. A zombie has ended: in a container, perhaps nobody collects orphans."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def command_of(process: psutil.Process) -> str:
    """Its command line; empty when it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def all_end(processes: Iterable[psutil.Process], *, within_s: float = 10) -> bool:
    """Whether all of them end in time."""
    deadline = time.monotonic() + within_s
    remaining = list(processes)
    while remaining := [process for process in remaining if not has_ended(process)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
