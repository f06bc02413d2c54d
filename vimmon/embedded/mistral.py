"""Starts a whole Mistral on this machine; it is ready when an action went all the way through it."""

import http.client
import importlib.util
import json
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from vimmon.embedded.process import ServerDidNotStart, is_free
from vimmon.embedded.server import OneProgram

START_TIMEOUT_S = 90.0
PROBE_TIMEOUT_S = 5.0


def mistral_works(url: str) -> bool:
    """Whether the Mistral at `url` (…/v2) works: an action goes through its API, its engine and an executor."""
    action = json.dumps({"name": "std.noop", "input": "{}", "params": '{"run_sync": true}'}).encode()
    request = urllib.request.Request(  # noqa: S310 - the URL is made by this package, for 127.0.0.1
        f"{url}/action_executions", data=action, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S) as answer:  # noqa: S310 - as above
            return bool(json.load(answer)["state"] == "SUCCESS")
    except (OSError, http.client.HTTPException):  # not there yet, or its engine is not
        return False


class MistralServer(OneProgram):
    """A whole Mistral in one process, reachable from this machine only, for as long as the context lasts.

    Configuration, data and log live in the folder, for the next one that is started there. `env` is added to the
    environment of the process, and so of the actions: VIMMON_REDIS_URL, for instance. Without a `port`, a free one is
    chosen anew at each start. What the file `config` says in Mistral's own terms is stronger than what is set here; one
    that wants a token needs another `works`, which tells whether the Mistral at a URL is ready.
    """

    name = "Mistral"

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        config: Path | None = None,
        works: Callable[[str], bool] = mistral_works,
    ) -> None:
        super().__init__(folder, port)
        self._env = dict(env or {})
        self._config = config
        self._works = works

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v2"

    def start(self) -> Self:
        """Start it, and return when workflows can run. ServerDidNotStart, with the reason, if they cannot."""
        if importlib.util.find_spec("mistral") is None:
            raise ServerDidNotStart("Mistral is not installed", remedy="Install it: pip install 'vimmon[demo]'")
        self._choose_port()
        if not is_free(self.port):  # whoever is there might be a Mistral too, and pass for this one
            raise ServerDidNotStart(
                f"port {self.port} of 127.0.0.1 is taken", remedy="Stop what listens there, or choose another port"
            )
        command = [
            sys.executable,
            "-m",
            "vimmon.embedded.mistral_process",
            str(self._folder.absolute()),
            str(self.port),
            *(("--config", str(self._config.absolute())) if self._config else ()),
        ]
        env = {"MALLOC_ARENA_MAX": "2", **self._env}
        self._run(command, lambda: self._works(self.url), within_s=START_TIMEOUT_S, env=env)
        return self
