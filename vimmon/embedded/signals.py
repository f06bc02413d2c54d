"""Lets Ctrl-C, SIGTERM and a closed terminal end a command the same way: once, and with all that is to be undone."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside, the first of these signals raises KeyboardInterrupt; later ones do not disturb the tidying up.

    One that is ignored, as by nohup, stays ignored.
    """

    def end(_number: int, _frame: object) -> None:
        for ending in ENDING:
            signal.signal(ending, signal.SIG_IGN)
        raise KeyboardInterrupt

    heeded = [ending for ending in ENDING if signal.getsignal(ending) != signal.SIG_IGN]
    before = {ending: signal.signal(ending, end) for ending in heeded}
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
