"""A terminal in which a command runs: what it was sent is what a person would see."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyte

VIMMON = Path(sys.executable).parent / "vimmon"
PATIENCE_S = 30.0


class Terminal:
    """Takes `bytes_a_second` at most (None: as fast as they come). Its user presses keys with `press`."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        *,
        columns: int = 80,
        rows: int = 24,
        bytes_a_second: float | None = None,
    ) -> None:
        self.received = 0
        self.raw = b""
        self._rate = bytes_a_second
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        self.slave = slave
        self.resize(columns, rows)
        self.process = subprocess.Popen(
            [str(VIMMON), *arguments],
            env={**env, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=lambda: _lead(slave),
        )

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)

    @property
    def lines(self) -> list[str]:
        return [str(line).rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def cursor_is_hidden(self) -> bool:
        return bool(self._screen.cursor.hidden)

    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self.slave)

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read(self, seconds: float) -> int:
        """Takes what comes within this time, and returns how many bytes that were."""
        until, before = time.monotonic() + seconds, self.received
        while (left := until - time.monotonic()) > 0:
            self._take(left)
        return self.received - before

    @staticmethod
    def stay(seconds: float) -> None:
        """Takes nothing for so long."""
        time.sleep(seconds)

    def until(self, seen: Callable[[], object], *, within_s: float = PATIENCE_S) -> float:
        """How long it took until that was to be seen."""
        begun = time.monotonic()
        while not seen():
            took = time.monotonic() - begun
            assert took < within_s, f"after {took:.1f} s:\n{self.text}"
            self._take(0.05)
        return time.monotonic() - begun

    def end(self, *, within_s: float = PATIENCE_S) -> int:
        """The exit code; reads on meanwhile."""
        until = time.monotonic() + within_s
        while (code := self.process.poll()) is None:
            assert time.monotonic() < until, self.text
            self._take(0.05)
        self.read(0.1)
        return code

    def _take(self, patience_s: float) -> None:
        most = 65536 if self._rate is None else max(int(self._rate / 20), 1)
        if not select.select([self._master], [], [], min(patience_s, 0.05))[0]:
            return
        data = os.read(self._master, most)
        self.received += len(data)
        self.raw += data
        self._stream.feed(data)
        if self._rate is not None:
            time.sleep(len(data) / self._rate)  # how long a line of this speed is busy with it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self.slave)


def _lead(slave: int) -> None:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
