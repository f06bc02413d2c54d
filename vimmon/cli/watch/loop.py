"""Looks at the VIMs again and again, and shows them, until somebody ends it. The database and Redis may come and go."""

import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from vimmon.cli.tools import Tools
from vimmon.cli.watch.events import Event, events
from vimmon.cli.watch.frame import chosen, frame
from vimmon.cli.watch.screen import Line, Screen, Span
from vimmon.errors import Unreachable
from vimmon.vim import Vim, VimStatus

HISTORY = 50
SHARE = 4  # looking may take one part in five of the time
QUIT = b"qQ"


def now() -> datetime:
    return datetime.now(UTC)


def watch_lines(tools: Tools, status: VimStatus | None, interval_s: float, tell: Callable[[Event], None]) -> None:
    """Tells each event once: how every VIM is, and then what happens. Ends with KeyboardInterrupt only."""
    before: dict[str, Vim] | None = None
    away = False
    while True:
        begun = time.monotonic()
        try:
            after = tools.registry.list()
            found = events(before, after, now=now(), history=lambda vim: tools.registry.history(vim, limit=HISTORY))
        except Unreachable as trouble:
            if not away:
                tell(Event(at=now(), event="away", reason=str(trouble)))
            away = True
        else:
            if away:
                tell(Event(at=now(), event="back"))
            away = False
            for event in found:
                if event.concerns(status):
                    tell(event)
            before = {vim.id: vim for vim in after}
        time.sleep(max(interval_s, SHARE * (time.monotonic() - begun)))


def watch_screen(tools: Tools, status: VimStatus | None, interval_s: float, *, colour: bool) -> None:
    """Shows the VIMs on the terminal until `q` or a signal ends it, which raises KeyboardInterrupt."""
    keyboard = sys.stdin.fileno() if _is_own_terminal() else None
    seen = _Seen(tools, status)
    with _signals() as signals, Screen(sys.stdout.fileno(), keyboard) as screen:
        while True:
            begun = time.monotonic()
            columns, rows = screen.size()
            lines = seen.look(columns, rows)
            screen.draw(lines if colour else _plain(lines))
            _pause(screen, signals, keyboard, max(interval_s, SHARE * (time.monotonic() - begun)))


class _Seen:
    """What is known of the VIMs; while the database is away, what was."""

    def __init__(self, tools: Tools, status: VimStatus | None) -> None:
        self._tools = tools
        self._status = status
        self._vims: list[Vim] = []
        self._away_since: datetime | None = None

    def look(self, columns: int, rows: int) -> list[Line]:
        trouble = ""
        try:
            self._vims = self._tools.registry.list()
            self._away_since = None
        except Unreachable as error:
            self._away_since = self._away_since or now()
            trouble = f"as it was at {self._away_since:%H:%M:%SZ}: {error}"
        listed = [vim for vim in self._vims if self._status in (None, vim.status)]
        shown = chosen(listed, rows)
        if not trouble:
            shown, redis_trouble = self._tools.completed(shown)
            trouble = f"without executor and last check: {redis_trouble}" if redis_trouble else ""
        counts = Counter(vim.status for vim in self._vims)
        return frame(shown, counts, wanted=self._status, now=now(), trouble=trouble, columns=columns)


@contextmanager
def _signals() -> Iterator[int]:
    """What can be waited for: signals that call for attention (the window's size, Ctrl-Z) are written there."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    attended = (signal.SIGWINCH, signal.SIGTSTP)
    before = {number: signal.signal(number, lambda *_: None) for number in attended}
    waker = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(waker)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def _pause(screen: Screen, signals: int, keyboard: int | None, seconds: float) -> None:
    """Waits; no longer when the window's size has changed."""
    until = time.monotonic() + seconds
    watched = [signals] if keyboard is None else [signals, keyboard]
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select(watched, [], [], left)
        if keyboard is not None and keyboard in ready:
            typed = os.read(keyboard, 100)
            if not typed or any(key in typed for key in QUIT):
                raise KeyboardInterrupt
        if signals in ready:
            if signal.SIGTSTP in os.read(signals, 100):
                screen.leave()
                os.kill(os.getpid(), signal.SIGSTOP)
                screen.enter()
            return


def _is_own_terminal() -> bool:
    """Whether what is typed can be read: not where standard input is something else, or another's in the background."""
    try:
        return os.isatty(sys.stdin.fileno()) and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def _plain(lines: Sequence[Line]) -> list[Line]:
    return [[Span(span.text) for span in line] for line in lines]
