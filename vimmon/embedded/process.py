"""Runs another program as a child that is watched, logs to a file, and never outlives this process (on Linux)."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from vimmon.errors import VimmonError

POLL_S = 0.02
TAIL_LINES = 15
PORTS = range(20_000, 32_000)  # below the range that Linux takes outgoing connections from

# The child asks the kernel to be killed when its parent dies, then becomes the program: the same pid, nothing in
# between. A new Python does this, and not a preexec_fn: that runs between fork and exec, where a lock that another
# thread held stays locked for ever. The parent may have died before the request: so look once more.
_BECOME = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)  # 1 is PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit("the process that started this one is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServerDidNotStart(VimmonError):
    """A server that vimmon starts by itself is not installed, ended early, or did not answer in time."""

    remedy = "Read its log for the cause; free the port or choose another, and start it again"
    exit_code = 3


def _new_starter() -> ThreadPoolExecutor:
    # To the kernel a child's parent is the *thread* that made it. So one thread that lives as long as the process makes
    # them all; else a child started from a short-lived thread would be killed at that thread's end.
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="vimmon-starter")


_starter = _new_starter()


def _renew_starter() -> None:
    global _starter
    _starter = _new_starter()  # a fork has no threads but its own


os.register_at_fork(after_in_child=_renew_starter)


def is_free(port: int) -> bool:
    """Whether a server could listen on this TCP port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, and that no outgoing connection will take."""
    for _ in range(100):
        port = PORTS[secrets.randbelow(len(PORTS))]
        if is_free(port):
            return port
    raise ServerDidNotStart(f"no free port of 127.0.0.1 between {PORTS.start} and {PORTS.stop}")


class Child:
    """One running program, started at once, its output appended to `<folder>/<name>.log`.

    It is in a process group of its own: Ctrl-C at a terminal reaches only the process that started it, which then stops
    it in good order. Should that process be killed, the child is killed too (Linux only); a program that forks has to
    see to its own children. The pid stays the child's until `stop`, even when it is dead: signals reach no stranger.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], folder: Path, *, env: Mapping[str, str] | None = None
    ) -> None:
        program = shutil.which(command[0])
        if program is None:
            raise ServerDidNotStart(f"{name}: no program {str(command[0])!r}", remedy="Install it, or correct PATH")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # a server's data and log are its owner's
        self.name = name
        self.log = folder / f"{name}.log"
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        arguments = [str(part) for part in (os.path.abspath(program), *command[1:])]
        become = [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *arguments]
        with self.log.open("ab") as log:
            self._process = _starter.submit(
                subprocess.Popen,
                become,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            ).result()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        if self._process.returncode is not None:
            return False
        try:  # WNOWAIT leaves a dead child as it is: its pid and group cannot be given to anybody else
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def tail(self) -> str:
        """The last lines of this run's output."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-TAIL_LINES:])

    def wait_ready(self, check: Callable[[], bool], timeout_s: float) -> None:
        """Return as soon as `check` is true; ServerDidNotStart, with the log's end, if the child dies or is late."""
        deadline = time.monotonic() + timeout_s
        while not check():
            if not self.alive:
                raise ServerDidNotStart(f"{self.name} ended while it started; {self.log} says:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServerDidNotStart(
                    f"{self.name} was not ready within {timeout_s:g} s; {self.log} says:\n{self.tail()}"
                )
            time.sleep(POLL_S)

    def wait_dead(self, timeout_s: float) -> bool:
        """Whether the child was dead within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the child and to every process of its group: SIGKILL is a crash, SIGSTOP a pause."""
        self._signal_group(sig)
        if sig == signal.SIGKILL:
            self.wait_dead(5)

    def stop(self, grace_s: float = 10) -> None:
        """End the child: SIGTERM, then SIGKILL for what is left of its group after `grace_s`. May be called twice."""
        if self._process.returncode is not None:
            return
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
            self._signal_group(signal.SIGCONT)
            self.wait_dead(grace_s)
        self._signal_group(signal.SIGKILL)
        self._process.wait()

    def _signal_group(self, sig: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, sig)
