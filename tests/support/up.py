"""A running `vimmon up`, as its users have it, and a shell beside it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own

from vimmon import Registry
from vimmon.settings import load_settings

VIMMON = Path(sys.executable).parent / "vimmon"
PATIENCE_S = 60


class Up:
    """A running `vimmon up`, and a shell beside it."""

    def __init__(self, process: "subprocess.Popen[str]", places: dict[str, str], env: Mapping[str, str]) -> None:
        self.process = process
        self.places = places
        self.env = {**env, "VIMMON_ENV_FILE": places["env_file"]}
        self.parts: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)

    def vimmon(self, *arguments: str) -> Any:
        command = [str(VIMMON), *arguments, "--json"]
        ended = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        return json.loads(ended.stdout)

    def registry(self) -> Registry:
        return Registry.from_settings(load_settings(self.env))

    def stop(self, sig: signal.Signals) -> float:
        """How long it took to end."""
        begun = time.monotonic()
        self.process.send_signal(sig)
        self.process.wait(PATIENCE_S)
        return time.monotonic() - begun


@contextmanager
def running(env: Mapping[str, str]) -> Iterator[Up]:
    command = [str(VIMMON), "up", "--json"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            document = ""
            while not document.endswith("}\n"):
                line = process.stdout.readline()
                assert line, process.communicate()
                document += line
            yield Up(process, json.loads(document), env)
        finally:
            process.kill()
