"""`vimmon up` as its users see it: another shell works with it, it keeps what was registered, and it leaves nothing."""

import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.polling import until
from tests.support.processes import all_end
from tests.support.services import redis_missing
from tests.support.strict import require
from tests.support.up import PATIENCE_S, VIMMON, Up, running
from vimmon.embedded.demo_endpoints import KeystoneEndpoint

STOP_WITHIN_S = 10


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    require(redis_missing())
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}


def await_status(up: Up, status: str) -> dict[str, Any]:
    """The VIM, once it has that status and an executor says that it holds it: which of the two is first is chance."""
    deadline = time.monotonic() + PATIENCE_S
    while (vim := up.vimmon("vim", "show", "tokyo"))["status"] != status or not vim["executor"]:
        assert time.monotonic() < deadline, vim
    return dict(vim)


def test_it_serves_another_shell_refuses_a_second_one_and_keeps_all_for_the_next(env: dict[str, str]) -> None:
    endpoint = KeystoneEndpoint().start()
    with running(env) as up:
        assert up.places["data"] == f"{env['HOME']}/.local/share/vimmon"
        up.vimmon("vim", "register", "tokyo", "--auth-url", endpoint.auth_url, "--probe", "interval_s=1")
        before = await_status(up, "REACHABLE")
        until(lambda: up.vimmon("lease", "show", "tokyo")["differences"] == [], within_s=PATIENCE_S)
        with urllib.request.urlopen(up.places["page"], timeout=PATIENCE_S) as page:
            assert ">tokyo<" in page.read().decode()
        second = subprocess.run([VIMMON, "up"], env=env, capture_output=True, text=True, timeout=PATIENCE_S)
        assert second.returncode == 1
        assert second.stderr.startswith(
            f"error: {up.places['data']} is in use by another vimmon (pid {up.process.pid})"
        )
        assert up.stop(signal.SIGTERM) < STOP_WITHIN_S
        assert up.process.returncode == 0
        assert all_end(up.parts, within_s=0)
    with running(env) as again:
        assert again.places == up.places
        after = again.vimmon("vim", "show", "tokyo")
        assert (after["id"], after["status"]) == (before["id"], "REACHABLE")
        assert again.stop(signal.SIGINT) < STOP_WITHIN_S
        assert again.process.returncode == 0
    endpoint.stop()


def test_when_a_part_dies_all_is_stopped_and_the_part_is_named(env: dict[str, str]) -> None:
    with running(env) as up:
        redis = next(part for part in up.parts if "-server" in part.cmdline()[0])
        redis.kill()
        _, said = up.process.communicate(timeout=PATIENCE_S)
        assert up.process.returncode == 3
        assert said.startswith("error: redis ended by itself; the rest was stopped.")
        assert all_end(up.parts, within_s=0)


def test_a_folder_that_cannot_be_written_is_refused_with_a_remedy(env: dict[str, str]) -> None:
    ended = subprocess.run(
        [VIMMON, "up", "--data", "/proc/vimmon"], env=env, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: /proc/vimmon: No such file or directory\n"
        "  Choose a folder that you may write to: vimmon up --data DIR\n"
    )
