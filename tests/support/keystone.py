"""A real Keystone on this machine, and what a cloud's administrator makes in it: users, and the catalogue.

`python -m tests.support.keystone PORT` serves it; its configuration is named by OS_KEYSTONE_CONFIG_FILES.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Self
from urllib.request import urlopen

from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session

from vimmon.embedded.process import Child, free_port
from vimmon.embedded.server import Started

START_TIMEOUT_S = 60.0
REGION = "RegionOne"
ASKED = "asked: "
CONFIG = """\
[DEFAULT]
log_file =
default_log_levels = keystone=WARNING

[database]
connection = sqlite:///{folder}/keystone.sqlite

[token]
provider = fernet

[fernet_tokens]
key_repository = {folder}/fernet-keys

[fernet_receipts]
key_repository = {folder}/fernet-keys

[credential]
key_repository = {folder}/credential-keys

[identity]
password_hash_rounds = 4
"""


def keystone_missing() -> str | None:
    """Why there is no Keystone to test with; None if there is."""
    return None if find_spec("keystone") else "keystone is not installed: pip install 'vimmon[dev]'"


class Keystone(Started):
    """Answers on 127.0.0.1 for as long as the context lasts; it may be stopped and started in between."""

    def __init__(self, folder: Path, *, admin_password: str = "") -> None:
        self.port = free_port()
        self.admin_password = admin_password or secrets.token_hex(16)
        self._folder = folder.absolute()
        self._child: Child | None = None

    def another(self) -> "Keystone":
        """The same cloud at another address: it is started, and stopped, by itself."""
        return Keystone(self._folder, admin_password=self.admin_password)

    def url(self, path: str = "/v3") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def log(self) -> str:
        return "" if self._child is None else self._child.log.read_text()

    @property
    def asked(self) -> list[str]:
        """Method and path of each request so far, at this address."""
        return [line.removeprefix(ASKED) for line in self.log.splitlines() if line.startswith(ASKED)]

    def start(self) -> Self:
        if not self._config.exists():
            self._make()
        command = [sys.executable, "-m", "tests.support.keystone", str(self.port)]
        self._child = Child(f"keystone-{self.port}", command, self._folder, env=self._env)
        self._child.wait_ready(self._answers, START_TIMEOUT_S)
        return self

    def stop(self) -> None:
        """From now on the port refuses connections."""
        if self._child is not None:
            self._child.stop()

    def session(self, variables: Mapping[str, str] | None = None) -> Session:
        """As the administrator, or as the user that `OS_*` variables name."""
        given = variables or self.variables("admin", self.admin_password, "admin")
        auth = Password(
            auth_url=given["OS_AUTH_URL"],
            username=given["OS_USERNAME"],
            password=given["OS_PASSWORD"],
            project_name=given["OS_PROJECT_NAME"],
            user_domain_name=given["OS_USER_DOMAIN_NAME"],
            project_domain_name=given["OS_PROJECT_DOMAIN_NAME"],
        )
        return Session(auth=auth, timeout=30)

    def variables(self, user: str, password: str, project: str) -> dict[str, str]:
        """What the openstack command, and vimmon, need to log in."""
        return {
            "OS_AUTH_URL": self.url(),
            "OS_USERNAME": user,
            "OS_PASSWORD": password,
            "OS_PROJECT_NAME": project,
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
            "OS_REGION_NAME": REGION,
        }

    def add_user(self, name: str, project: str, role: str = "member") -> dict[str, str]:
        """The `OS_*` variables of a new user, with a role in a project, which is made too."""
        admin, password = self.session(), secrets.token_hex(16)
        project_id = self._create(admin, "project", {"name": project, "domain_id": "default"})
        user_id = self._create(admin, "user", {"name": name, "password": password, "domain_id": "default"})
        (found,) = admin.get(self.url(f"/v3/roles?name={role}")).json()["roles"]
        admin.put(self.url(f"/v3/projects/{project_id}/users/{user_id}/roles/{found['id']}"))
        return self.variables(name, password, project)

    def add_service(self, kind: str, url: str) -> None:
        """Enters a service of that type, with its public endpoint, in the catalogue."""
        admin = self.session()
        service_id = self._create(admin, "service", {"type": kind, "name": kind})
        endpoint = {"service_id": service_id, "interface": "public", "url": url, "region_id": REGION}
        self._create(admin, "endpoint", endpoint)

    @property
    def _config(self) -> Path:
        return self._folder / "keystone.conf"

    @property
    def _env(self) -> dict[str, str]:
        root = str(Path(__file__).parents[2])
        return {"OS_KEYSTONE_CONFIG_FILES": str(self._config), "PYTHONPATH": root, "PYTHONWARNINGS": "ignore"}

    def _make(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in ("fernet-keys", "credential-keys"):
            (self._folder / name).mkdir(mode=0o700)
        self._config.write_text(CONFIG.format(folder=self._folder))
        self._manage("db_sync")
        self._manage("fernet_setup", "--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid()))
        urls = ("--bootstrap-public-url", self.url(), "--bootstrap-internal-url", self.url())
        password = {"OS_BOOTSTRAP_PASSWORD": self.admin_password}
        self._manage("bootstrap", *urls, "--bootstrap-region-id", REGION, env=password)

    def _manage(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        program = Path(sys.executable).parent / "keystone-manage"
        subprocess.run(
            [str(program), "--config-file", str(self._config), *arguments],
            check=True,
            capture_output=True,
            timeout=START_TIMEOUT_S,
            env={**os.environ, **self._env, **(env or {})},
        )

    def _answers(self) -> bool:
        try:
            with urlopen(self.url(), timeout=5):
                return True
        except OSError:
            return False

    def _create(self, admin: Session, kind: str, what: Mapping[str, str]) -> str:
        return str(admin.post(self.url(f"/v3/{kind}s"), json={kind: what}).json()[kind]["id"])


def serve(port: int) -> None:
    sys.argv = sys.argv[:1]  # Keystone reads them when it is imported
    from cheroot.wsgi import Server
    from keystone.wsgi.api import application  # type: ignore[import-untyped]  # has no type hints

    def logged(environ: dict[str, str], start_response: object) -> object:
        print(f"{ASKED}{environ['REQUEST_METHOD']} {environ['PATH_INFO']}", flush=True)
        return application(environ, start_response)

    Server(("127.0.0.1", port), logged, numthreads=4).safe_start()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
