"""`vimmon up`: the whole of vimmon on one machine, until somebody ends it or a part of it dies.

A part that dies ends all, with exit code 3: what had been promised is not there any more, and whoever supervises `up`
starts it again whole. (The processes inside a conductor are another matter: it starts those again by itself.)
"""

import threading
from collections.abc import Callable
from pathlib import Path

from vimmon.embedded.signals import ended_by_signals
from vimmon.embedded.stack import Stack
from vimmon.errors import VimmonError

LOOK_EVERY_S = 0.5


class PartDied(VimmonError):
    exit_code = 3


def run_up(folder: Path, *, tell: Callable[[str], None], ready: Callable[[Stack], None]) -> None:
    """Runs until Ctrl-C or SIGTERM, which is a good end. Raises PartDied, and what starting a Stack raises.

    `tell` hears what is being started and stopped, `ready` that all runs.
    """
    with ended_by_signals():
        stack = Stack(folder, pages=True, tell=tell)
        try:
            with stack:
                ready(stack)
                _watch(stack)
        except KeyboardInterrupt:
            tell("stopped")


def _watch(stack: Stack) -> None:
    never = threading.Event()
    while not never.wait(LOOK_EVERY_S):
        if (child := stack.dead()) is not None:
            raise PartDied(
                f"{child.name} ended by itself; the rest was stopped. {child.log} says:\n{child.tail()}",
                remedy="Start it again: vimmon up. What was registered is still there",
            )
