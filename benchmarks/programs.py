"""Programs that a benchmark starts and talks to: a JSON order a line in, a JSON answer a line out."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Silent(Exception):
    """A program of the benchmark ended, or said nothing in time."""


class Talking:
    """Ends with its standard input. Its complaints go to this process's own standard error. `before`: a command that
    becomes it, and changes where it runs."""

    def __init__(
        self, module: str, *arguments: str, env: Mapping[str, str] | None = None, before: Sequence[str] = ()
    ) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, *, within_s: float = 60, **order: Any) -> dict[str, Any]:
        """What it answers. Raises Silent when nothing comes; then it is ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self.hear(within_s=within_s)

    def hear(self, *, within_s: float = 60) -> dict[str, Any]:
        """What it says next, without being asked."""
        assert self._process.stdout is not None
        timer = threading.Timer(within_s, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            raise Silent(f"{self._module} said nothing within {within_s:g} s")
        return dict(json.loads(line))

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()
