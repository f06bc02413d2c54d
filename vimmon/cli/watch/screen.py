"""A terminal's screen: draws lines on it, and writes no more than what differs from what stands there.

It never gets ahead of the terminal: `draw` returns when the terminal has taken all, so what is drawn next is new.
"""

import contextlib
import os
import termios
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from rich.cells import cell_len

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"  # another screen, no cursor, no wrapping, nothing on it
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
GAP = 8  # cells that did not change, and are written all the same: to move past them would not be cheaper


class Span(NamedTuple):
    """Text without control characters, and how it looks: the numbers of an SGR sequence, or nothing."""

    text: str
    sgr: str = ""


Line = Sequence[Span]
Cell = tuple[str, str]  # what stands in a column, and how; of a wide character the second column has ""
BLANK: Cell = (" ", "")


class Screen:
    """The terminal behind two file descriptors. It is left as it was found, whatever ends the context."""

    def __init__(self, output: int, keyboard: int | None) -> None:
        self._output = output
        self._keyboard = keyboard
        self._attributes: list[Any] | None = None
        self._shown: list[list[Cell]] = []
        self._size = (0, 0)

    def size(self) -> tuple[int, int]:
        """Columns and rows, as they are now."""
        size = os.get_terminal_size(self._output)
        return max(size.columns, 1), max(size.lines, 1)

    def draw(self, lines: Sequence[Line]) -> int:
        """Makes the screen show these lines, and returns how many bytes that took."""
        columns, rows = size = self.size()
        wanted = [cells(line, columns) for line in lines[:rows]]
        wanted += [[BLANK] * columns for _ in range(rows - len(wanted))]
        text = ""
        if size != self._size:
            self._size, self._shown = size, [[BLANK] * columns for _ in range(rows)]
            text = "\x1b[2J"
        for row, (old, new) in enumerate(zip(self._shown, wanted, strict=True), start=1):
            text += "".join(_write(row, start, new[start:end]) for start, end in runs(old, new))
        self._shown = wanted
        return self._send(text)

    def enter(self) -> None:
        if self._keyboard is not None:
            self._attributes = termios.tcgetattr(self._keyboard)
            quiet = termios.tcgetattr(self._keyboard)
            quiet[3] &= ~(termios.ECHO | termios.ICANON)  # what is typed must not be written over the lines
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, quiet)
        self._size = (0, 0)
        self._send(ENTER)

    def leave(self) -> None:
        """Also where the terminal takes nothing more: then it is told what fits, and the rest is given up."""
        with contextlib.suppress(OSError, termios.error):
            termios.tcflush(self._output, termios.TCOFLUSH)
            os.set_blocking(self._output, False)
            try:
                os.write(self._output, LEAVE.encode())
            finally:
                os.set_blocking(self._output, True)
        if self._keyboard is not None and self._attributes is not None:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._keyboard, termios.TCSANOW, self._attributes)
                termios.tcflush(self._keyboard, termios.TCIFLUSH)
            self._attributes = None

    def _send(self, text: str) -> int:
        data = text.encode("utf-8", "replace")
        sent = 0
        while sent < len(data):
            sent += os.write(self._output, data[sent:])
        return len(data)

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


def cells(line: Line, columns: int) -> list[Cell]:
    """What stands in each column of the line; what does not fit is left out."""
    made: list[Cell] = []
    latest: int | None = None  # where the character stands to which one without a width belongs
    for span in line:
        for character in span.text:
            width = cell_len(character)
            if width == 0:
                if latest is not None:
                    made[latest] = (made[latest][0] + character, made[latest][1])
            elif len(made) + width <= columns:
                latest = len(made)
                made += [(character, span.sgr), *[("", span.sgr)] * (width - 1)]
            else:
                return made + [BLANK] * (columns - len(made))
    return made + [BLANK] * (columns - len(made))


def runs(old: Sequence[Cell], new: Sequence[Cell]) -> Iterator[tuple[int, int]]:
    """The columns that have to be written: from, and up to. A wide character begins in one that changes."""
    start = end = -1
    for column in (column for column, (was, now) in enumerate(zip(old, new, strict=True)) if was != now):
        if start >= 0 and column - end > GAP:
            yield start, end
            start = -1
        start = column if start < 0 else start
        end = column + 1
    if start >= 0:
        yield start, end


def _write(row: int, start: int, some: Sequence[Cell]) -> str:
    filled = len(some)
    while filled and some[filled - 1] == BLANK:
        filled -= 1
    text, sgr = f"\x1b[{row};{start + 1}H", ""
    for character, wanted in some[:filled]:
        if wanted != sgr:
            text += f"\x1b[0;{wanted}m" if wanted else "\x1b[0m"
            sgr = wanted
        text += character
    if sgr:
        text += "\x1b[0m"
    blanks = len(some) - filled
    return text + (f"\x1b[{blanks}X" if blanks > 4 else " " * blanks)
