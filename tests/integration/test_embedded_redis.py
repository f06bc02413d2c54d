"""The Redis that vimmon starts by itself: its own, on this machine only, and gone with whoever started it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own
import pytest
import redis

from tests.support.processes import all_end, has_ended
from tests.support.services import redis_missing
from tests.support.strict import require
from vimmon.embedded.process import Child, ServerDidNotStart
from vimmon.embedded.redis import RedisServer, find_redis_server


@pytest.fixture(autouse=True)
def _needs_redis() -> None:
    require(redis_missing())


PARENT = """
import sys, threading
from pathlib import Path
from vimmon.embedded.redis import RedisServer

server = RedisServer(Path(sys.argv[1]))
starter = threading.Thread(target=server.start)  # one that has ended: the server must live on all the same
starter.start()
starter.join()
print(server.pid, flush=True)
sys.stdin.read()
"""


def test_it_answers_until_it_is_stopped(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        child = server.child
    assert not child.alive
    assert "Ready to accept connections" in (tmp_path / "redis.log").read_text()


def test_a_persistent_one_keeps_its_data_for_the_next_in_the_same_folder(tmp_path: Path) -> None:
    with RedisServer(tmp_path, persistent=True) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
    with RedisServer(tmp_path, persistent=True) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"


def test_its_options_reach_redis(tmp_path: Path) -> None:
    with RedisServer(tmp_path, options=("--maxmemory", "50mb")) as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(50 * 1024 * 1024)}


def test_it_dies_with_the_process_that_started_it_and_not_with_the_thread(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        assert not has_ended(server)
        parent.kill()
    assert all_end([server])


def test_a_port_that_is_taken_is_named_in_the_error(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "first") as first:
        second = RedisServer(tmp_path / "second", port=first.port)
        with pytest.raises(ServerDidNotStart, match=rf":{first.port}: .*Address already in use") as caught:
            second.start()
    assert "free the port" in caught.value.remedy
    assert not second.child.alive


def test_without_any_program_the_error_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ServerDidNotStart) as caught:
        find_redis_server()
    assert "pip install 'vimmon[demo]'" in caught.value.remedy


def test_without_one_on_the_path_the_one_in_the_wheel_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert find_redis_server().name == "valkey-server"
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    child = Child("stubborn", [sys.executable, "-c", stubborn], tmp_path)
    child.wait_ready(lambda: "deaf" in child.tail(), timeout_s=20)
    child.kill(signal.SIGSTOP)
    child.stop(grace_s=0.1)
    assert not child.alive
