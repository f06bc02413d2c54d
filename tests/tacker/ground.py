"""The parts that vimmon and a real Tacker need, and a Tacker user's own command at hand."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from keystoneauth1.session import Session

from tests.support.keystone import Keystone, keystone_missing
from tests.support.real_tacker import Tacker, tacker_missing
from tests.support.services import mariadb_missing, rabbitmq_missing, redis_missing
from vimmon.embedded.evidence import Evidence
from vimmon.embedded.process import Child
from vimmon.embedded.stack import Stack
from vimmon.errors import VimmonError

POLL_S = 2
START_TIMEOUT_S = 30.0
CLIENT_TIMEOUT_S = 60.0
TIMES = {
    "VIMMON_CHECK_INTERVAL_S": "3",
    "VIMMON_EXECUTOR_BEAT_S": "1",
    "VIMMON_EXECUTOR_TTL_S": "5",
    "VIMMON_CONDUCTOR_BEAT_S": "1",
    "VIMMON_CONDUCTOR_TTL_S": "5",
}
BIN = Path(sys.executable).parent


class ClientFailed(VimmonError):
    """The openstack command did not do what it was asked for."""


def missing() -> str | None:
    """Why this machine cannot run all this; None if it can."""
    return keystone_missing() or tacker_missing() or mariadb_missing() or rabbitmq_missing() or redis_missing()


class Ground:
    """Keystone, Tacker, and all of vimmon's parts. Who runs Tacker is the cloud's administrator.

    `keystone` is Tacker's identity service and a VIM; `elsewhere` is the same cloud at another address.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keystone = Keystone(folder / "keystone")
        self.elsewhere = self.keystone.another()
        self.tacker = Tacker(folder / "tacker", self.keystone)
        self.stack = Stack(folder / "vimmon", env=TIMES)
        self.evidence: Evidence
        self.sync: Child
        self.vim_user: dict[str, str] = {}
        self._exit = ExitStack()

    def start(self) -> None:
        """Starts all. ServerDidNotStart if something does not."""
        with ThreadPoolExecutor(max_workers=1) as beside:
            self._exit.callback(self.stack.stop)
            ours = beside.submit(self.stack.start)
            self._exit.enter_context(self.keystone)
            self._exit.enter_context(self.tacker)
            self.vim_user = self.keystone.add_user("nfv", "nfv", "admin")
            self._exit.enter_context(self.elsewhere)
            ours.result()
        self.evidence = Evidence(self.stack, self.stack.folder / "mistral" / "mistral.log")

    def start_sync(self) -> None:
        """What an operator starts: `vimmon tacker sync`, as the administrator."""
        command: list[str | Path] = [BIN / "vimmon", "tacker", "sync", "--every", str(POLL_S)]
        self.sync = Child("tacker-sync", command, self.folder, env={**self.stack.environment, **self.administrator})
        self._exit.callback(self.sync.stop)
        self.sync.wait_ready(lambda: "following Tacker" in self.sync.log.read_text(), START_TIMEOUT_S)

    def sync_once(self, *options: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """`vimmon tacker sync --once`, which waits for its turn beside the one that goes on."""
        return subprocess.run(
            [str(BIN / "vimmon"), "tacker", "sync", "--once", *options],
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            env={"PATH": os.environ["PATH"], **self.stack.environment, **self.administrator, **(env or {})},
        )

    def close(self) -> None:
        """Ends all that was started."""
        self._exit.close()

    @cached_property
    def session(self) -> Session:
        """The administrator's."""
        return self.keystone.session()

    @property
    def administrator(self) -> dict[str, str]:
        """The `OS_*` variables."""
        admin = self.keystone.variables("admin", self.keystone.admin_password, "admin")
        return {**admin, "OS_IDENTITY_API_VERSION": "3"}

    def openstack(self, *arguments: str) -> str:
        """What the openstack command prints, run by the administrator."""
        ended = subprocess.run(
            [str(BIN / "openstack"), *arguments],
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.administrator},
        )
        if ended.returncode:
            raise ClientFailed(f"openstack {' '.join(arguments)}: {ended.stderr.strip()}", remedy="Read Tacker's log")
        return ended.stdout

    def register(self, name: str, auth_url: str) -> dict[str, Any]:
        """`openstack vim register`: what it says of the new VIM."""
        config = self.folder / f"{name}.yaml"
        config.touch(mode=0o600)
        config.write_text(
            f"auth_url: {auth_url}\n"
            f"username: {self.vim_user['OS_USERNAME']}\n"
            f"password: {self.vim_user['OS_PASSWORD']}\n"
            f"project_name: {self.vim_user['OS_PROJECT_NAME']}\n"
            "project_domain_name: Default\nuser_domain_name: Default\n"
        )
        return dict(json.loads(self.openstack("vim", "register", name, "--config-file", str(config), "-f", "json")))

    def written(self) -> dict[str, bytes]:
        """All files of vimmon's and of Redis's and Mistral's: databases and logs."""
        files = [path for path in self.stack.folder.rglob("*") if path.is_file()] + [self.sync.log]
        return {path.name: path.read_bytes() for path in files}
