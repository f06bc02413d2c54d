"""Everything at once on a Redis that knows its users and speaks TLS alone: real parts, each with its own name."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own
import pytest

from tests.acceptance.stack import TIMES, eventually
from tests.support.endpoints import Endpoint
from tests.support.guarded_redis import ADMIN, Certificates, GuardedRedis, guarded_redis
from tests.support.processes import command_of
from vimmon import Registry
from vimmon.embedded.mistral import MistralServer
from vimmon.embedded.process import Child
from vimmon.registry.database import open_engine, upgrade
from vimmon.settings import load_settings

EXECUTOR, CONDUCTOR, SERVER, OPERATOR = (
    *("vimmon-executor-mistral-1", "vimmon-conductor", "vimmon-server", "vimmon-operator"),
)


@dataclass(frozen=True)
class Guarded:
    """All parts, as each of them sees Redis."""

    redis: GuardedRedis
    env: dict[str, str]
    mistral: MistralServer
    conductor: Child
    registry: Registry

    def vimmon(self, *arguments: str) -> str:
        """What the command says to somebody who may only look."""
        return self._vimmon(OPERATOR, *arguments)

    def vimmon_of_a_server(self, *arguments: str) -> str:
        return self._vimmon(SERVER, *arguments)

    def _vimmon(self, user: str, *arguments: str) -> str:
        env = {**os.environ, **self.env, "VIMMON_REDIS_URL": self.redis.url(user)}
        command = [sys.executable, "-c", "from vimmon.cli import main; main()", *arguments]
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
        assert ended.stderr == ""
        return ended.stdout


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder: Path = tmp_path_factory.mktemp("guarded")
    times = {**TIMES, "VIMMON_RECONCILE_INTERVAL_S": "1", "VIMMON_ENV_FILE": os.devnull}
    with guarded_redis(folder, certificates=Certificates(folder / "certificates")) as redis:
        database = f"sqlite:///{folder}/vimmon.sqlite"
        upgrade(open_engine(database))
        executor = {**times, "VIMMON_REDIS_URL": redis.url(EXECUTOR), "VIMMON_EXECUTOR_NAME": "mistral-1"}
        with MistralServer(folder / "mistral", env=executor) as mistral:
            env = {**times, "VIMMON_DATABASE_URL": database, "VIMMON_MISTRAL_URL": mistral.url}
            command = [sys.executable, "-m", "vimmon.conductor"]
            conductor = Child("conductor", command, folder, env={**env, "VIMMON_REDIS_URL": redis.url(CONDUCTOR)})
            registry = Registry.from_settings(load_settings({**env, "VIMMON_REDIS_URL": redis.url(SERVER)}))
            try:
                yield Guarded(redis, env, mistral, conductor, registry)
            finally:
                conductor.stop()


def test_a_vim_is_watched_changed_shown_and_let_go_and_nobody_is_ever_refused(guarded: Guarded) -> None:
    def agreed() -> bool:
        return "yes" in guarded.vimmon("lease", "list")

    registry = guarded.registry
    with Endpoint() as endpoint:
        assert registry.register("tokyo", endpoint.url(), probe={"interval_s": 0.3}).delayed is None
        eventually(lambda: registry.get("tokyo").status == "REACHABLE")
        assert registry.update("tokyo", auth_url=endpoint.url("/v3/")).delayed is None
        eventually(lambda: registry.get("tokyo").status == "REACHABLE")
        eventually(agreed)
        assert "mistral-1:" in guarded.vimmon("vim", "show", "tokyo")
        assert "HTTP 200" in guarded.vimmon_of_a_server("vim", "check", "tokyo")
        assert registry.deregister("tokyo").delayed is None
    eventually(lambda: "generation=2 why=" in guarded.mistral.child.log.read_text())
    with guarded.redis.client(ADMIN) as admin:
        eventually(lambda: not list(admin.scan_iter(match="rq:job:*")))
    assert guarded.conductor.log.read_text().count("monitor_stopped") >= 2
    assert guarded.redis.denied() == []


def test_no_password_is_in_a_log_or_on_a_command_line(guarded: Guarded) -> None:
    everybody = psutil.Process(guarded.conductor.pid), psutil.Process(guarded.mistral.pid)
    processes = [one for parent in everybody for one in (parent, *parent.children(recursive=True))]
    assert len(processes) >= 6
    said = [command_of(process) for process in processes]
    said += [guarded.conductor.log.read_text(), guarded.mistral.child.log.read_text()]
    for password in guarded.redis.passwords.values():
        assert not [text for text in said if password in text]
