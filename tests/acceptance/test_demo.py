"""`vimmon demo` as a newcomer runs it: it shows what it claims in time, and says so where it cannot."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own
import pytest

from tests.support.services import redis_missing
from tests.support.strict import require
from vimmon.embedded.process import free_port

VIMMON = Path(sys.executable).parent / "vimmon"
LONGEST_S = 90
BROKEN = """
from vimmon.cli import main
from vimmon.embedded import demo, demo_endpoints

demo_endpoints.Endpoint.stop = lambda endpoint: None  # what the tour says it stopped still answers
demo.WITHIN_S = 5.0
main(["demo", "--json"])
"""


@pytest.fixture(autouse=True)
def _needs() -> None:
    require(redis_missing())


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing but PATH and HOME."""
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}


def folder_of(output: str) -> Path:
    found = re.search(r"in (/\S*vimmon-demo-\w+)", output)
    assert found
    return Path(found[1])


def processes_about(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(folder) in " ".join(process.info["cmdline"] or ()):
            yield process


def test_the_tour_succeeds_in_time_and_shows_a_cloud_that_is_not_there_as_it_is(bare: dict[str, str]) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/v3"
    started = time.monotonic()
    ended = subprocess.run([VIMMON, "demo", nowhere], env=bare, capture_output=True, text=True, timeout=2 * LONGEST_S)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert time.monotonic() - started < LONGEST_S
    said = " ".join(ended.stdout.split())
    assert f"yours-1 ({nowhere}) is UNREACHABLE: connection refused" in said
    assert "osaka is UNREACHABLE: connection refused" in said
    assert said.count("osaka is REACHABLE: HTTP 200") == 3
    assert said.count("ok after") == 7
    assert not folder_of(ended.stdout).exists()
    assert not list(processes_about(folder_of(ended.stdout)))
    assert not (Path(bare["HOME"]) / ".local").exists()  # the user's own data folder is not touched


def test_a_step_that_fails_is_named_and_makes_the_exit_code_1(bare: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BROKEN], env=bare, capture_output=True, text=True, timeout=2 * LONGEST_S
    )
    told = json.loads(ended.stdout)
    assert (ended.returncode, told["ok"], ended.stderr) == (1, False, "")
    *fine, failed = told["steps"]
    assert all(step["failure"] is None for step in fine)
    assert failed["title"] == "Stop osaka"
    assert "expected within 5 s: osaka is UNREACHABLE, with a reason; seen: REACHABLE" in failed["failure"]


def test_an_address_that_cannot_be_read_is_refused_before_anything_is_started(bare: dict[str, str]) -> None:
    ended = subprocess.run([VIMMON, "demo", "ftp://x"], env=bare, capture_output=True, text=True, timeout=LONGEST_S)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: auth_url: ")


def test_ctrl_c_stops_and_removes_everything(bare: dict[str, str]) -> None:
    with subprocess.Popen([VIMMON, "demo"], env=bare, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        output = ""
        while "tokyo is REACHABLE" not in output:
            line = demo.stdout.readline()
            assert line, output
            output += line
        folder = folder_of(" ".join(output.split()))
        assert list(processes_about(folder))
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=LONGEST_S)
    assert demo.returncode == 130
    assert "everything was stopped and removed" in output
    assert not folder.exists()
    assert not list(processes_about(folder))
