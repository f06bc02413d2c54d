"""Runs everything on this machine for as long as a context lasts: Redis, database, Mistral, conductors.

All listen on 127.0.0.1 only. Data, logs and ports stay in one folder, for the next stack that is started there; a lock
keeps two from using it at once.
"""

import fcntl
import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Protocol, Self, cast

from redis.exceptions import RedisError

from vimmon.embedded.mistral import MistralServer
from vimmon.embedded.process import Child, ServerDidNotStart, free_port, is_free
from vimmon.embedded.redis import RedisServer
from vimmon.embedded.server import Started
from vimmon.errors import VimmonError
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.registry.database import open_engine, sqlite_url, upgrade
from vimmon.registry.registry import Registry
from vimmon.settings import ENV_FILE, PREFIX, TEST_PREFIX, Settings, load_settings

CONDUCTOR_START_TIMEOUT_S = 30.0
OWN = ("VIMMON_REDIS_URL", "VIMMON_DATABASE_URL", "VIMMON_MISTRAL_URL", ENV_FILE)
"""What a stack says itself, whatever stands in the environment."""


class FolderInUse(VimmonError):
    remedy = "Stop the other one first, or choose another folder: vimmon up --data DIR"


class Mistral(Protocol):
    """What a stack needs of a Mistral."""

    @property
    def url(self) -> str: ...
    def start(self) -> object: ...
    def stop(self) -> None: ...


class Stack(Started):
    """`env` is added to the settings in the environment, for all parts; a VIMMON_DATABASE_URL in it is used.

    `mistral` makes another Mistral than the embedded one, from the environment that its executors need. `pages`: the
    first conductor serves its pages over HTTP. `tell` hears what is being started and stopped.
    """

    def __init__(
        self,
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        conductors: int = 1,
        mistral: Callable[[Mapping[str, str]], Mistral] | None = None,
        pages: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder.absolute()
        self.env_file = self.folder / "vimmon.env"
        self.redis: RedisServer
        self.mistral: Mistral
        self.conductors: list[Child] = []
        self.environment: dict[str, str] = {}
        self.settings: Settings
        self._env = dict(env or {})
        self._wanted_conductors = conductors
        self._make_mistral = mistral
        self._pages = pages
        self._http_port = 0
        self._tell = tell
        self._started = False
        self._exit = ExitStack()

    def start(self) -> Self:
        """Starts all, and returns when VIMs can be watched. Raises FolderInUse, SettingsError, ServerDidNotStart."""
        try:
            self._start_parts()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends all that was started: conductors, Mistral, Redis. May be called twice."""
        if self._started:
            self._started = False
            self._tell("stopping …")
        self._exit.close()

    def start_conductor(self) -> Child:
        """One more conductor, which answers when this returns."""
        known = self._known_conductors()
        child = self._launch_conductor()
        self._wait_for_conductors(known, [child])
        return child

    @property
    def page_url(self) -> str | None:
        """Where the status page is."""
        return f"http://127.0.0.1:{self._http_port}/" if self._pages else None

    def registry(self) -> Registry:
        return Registry.from_settings(self.settings)

    def dead(self) -> Child | None:
        """A part that ended though nobody stopped it."""
        children = [self.redis.child, *self.conductors]
        if isinstance(self.mistral, MistralServer):
            children.append(self.mistral.child)
        return next((child for child in children if not child.alive), None)

    def _start_parts(self) -> None:
        self._lock()
        self._describe()
        self._started = True
        self._tell("starting Redis …")
        self._exit.callback(self.redis.stop)
        self.redis.start()
        self._tell("bringing the tables of the database up to date …")
        engine = open_engine(self.settings.database_url.get_secret_value())
        upgrade(engine)
        engine.dispose()
        known = self._known_conductors()
        self._exit.callback(self.mistral.stop)
        self._exit.callback(self._stop_conductors)
        self._tell("starting a conductor, and Mistral: API, engine and executor …")
        for _ in range(self._wanted_conductors):
            self._launch_conductor()
        self.mistral.start()
        self._wait_for_conductors(known, self.conductors)

    def _lock(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = self._exit.enter_context((self.folder / "up.lock").open("a+"))
        except OSError as error:
            raise VimmonError(
                f"{self.folder}: {error.strerror}", remedy="Choose a folder that you may write to: vimmon up --data DIR"
            ) from None
        self._take(lock)

    def _take(self, lock: IO[str]) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise FolderInUse(f"{self.folder} is in use by another vimmon (pid {lock.read().strip()})") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()

    def _describe(self) -> None:
        """Where all will be, and every setting, in `environment`, in `settings` and in the file for other shells."""
        redis_port, mistral_port, self._http_port = self._ports()
        self.redis = RedisServer(self.folder / "redis", port=redis_port, persistent=True)
        given = {name: value for name, value in os.environ.items() if _is_setting(name)} | self._env
        shared = given | {"VIMMON_REDIS_URL": self.redis.url}
        # An executor must not know the database: only a conductor writes there.
        executors = {name: value for name, value in shared.items() if name != "VIMMON_DATABASE_URL"}
        executors[ENV_FILE] = os.devnull
        if self._make_mistral is None:
            self.mistral = MistralServer(self.folder / "mistral", port=mistral_port, env=executors)
        else:
            self.mistral = self._make_mistral(executors)
        database = sqlite_url(self.folder / "vimmon.sqlite")
        written = {"VIMMON_DATABASE_URL": database, **shared, "VIMMON_MISTRAL_URL": self.mistral.url}
        self.environment = {**written, ENV_FILE: str(self.env_file)}
        self.env_file.touch(mode=0o600)  # a password may be among what was given
        self.env_file.chmod(0o600)
        self.env_file.write_text("".join(f"{name}={_quoted(value)}\n" for name, value in sorted(written.items())))
        self.settings = load_settings(self.environment)

    def _ports(self) -> list[int]:
        """Those of the last time, where they are still free: of Redis, Mistral, and the pages."""
        file = self.folder / "ports.json"
        try:
            known = dict(json.loads(file.read_text()))
        except (OSError, ValueError, TypeError):  # the first time, or not ours
            known = {}
        ports: dict[str, int] = {}
        for name in ("redis", "mistral", "http"):
            port = known.get(name)
            if not isinstance(port, int) or not 0 < port < 65536 or port in ports.values() or not is_free(port):
                port = free_port()
            ports[name] = port
        file.write_text(json.dumps(ports) + "\n")
        return list(ports.values())

    def _launch_conductor(self) -> Child:
        name = f"conductor-{len(self.conductors) + 1}"
        # An OS_AUTH_URL of the user's shell belongs to another Mistral.
        env = {**self.environment, "OS_AUTH_URL": ""}
        command = [sys.executable, "-m", "vimmon.conductor"]
        if self._pages and not self.conductors:
            command += ["--http", f"127.0.0.1:{self._http_port}"]
        child = Child(name, command, self.folder / "conductor", env=env)
        self.conductors.append(child)
        return child

    def _wait_for_conductors(self, known: set[bytes], children: list[Child]) -> None:
        for number, child in enumerate(children, start=1):
            child.wait_ready(partial(self._answering, known, number), CONDUCTOR_START_TIMEOUT_S)

    def _answering(self, known: set[bytes], wanted: int) -> bool:
        return len(self._known_conductors() - known) >= wanted

    def _known_conductors(self) -> set[bytes]:
        """The ids of all conductors that have ever said that they live. None is used twice."""
        redis = connect(self.settings)
        try:
            return set(cast(list[bytes], redis.zrange(Keys(self.settings.prefix).conductors, 0, -1)))
        except RedisError as trouble:
            raise ServerDidNotStart(f"Redis, just started, does not answer: {trouble}") from None
        finally:
            redis.close()

    def _stop_conductors(self) -> None:
        if self.conductors:
            with ThreadPoolExecutor(max_workers=len(self.conductors)) as threads:
                list(threads.map(Child.stop, self.conductors))


def _is_setting(name: str) -> bool:
    return name.startswith(PREFIX) and not name.startswith(TEST_PREFIX) and name not in OWN


def _quoted(value: str) -> str:
    """As a shell and python-dotenv both read it, unless it has a quote in it: then only the latter does."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
