"""`vimmon tacker sync`, as a shell would see it, and the service of the conductor as the process it is."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.following import Ground
from tests.support.command import Command
from tests.support.polling import until
from tests.support.tacker import Answer
from vimmon.embedded.process import Child
from vimmon.embedded.redis import RedisServer

EVERY_S = 1


@pytest.fixture
def environment(ground: Ground, redis_server: RedisServer) -> dict[str, str]:
    return {
        "VIMMON_REDIS_URL": redis_server.url,
        "VIMMON_DATABASE_URL": str(ground.bench.engine.url),
        "VIMMON_TACKER_URL": ground.tacker.url,
    }


@pytest.fixture
def vimmon(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Command(capsys)


@pytest.fixture
def started(environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, Child]]:
    """Two conductors that follow Tacker."""
    children: dict[str, Child] = {}
    env = {**environment, "VIMMON_TACKER_INTERVAL_S": str(EVERY_S)}
    command = [
        sys.executable,
        "-m",
        "vimmon.conductor",
        "--rpc",
        "0",
        "--workers",
        "0",
        "--no-upkeep",
        "--no-reconcile",
    ]
    for name in ("a", "b"):
        children[name] = Child(name, command, tmp_path, env=env)
    yield children
    for child in children.values():
        child.stop()


def test_a_dry_run_then_the_pass_itself_in_words(ground: Ground, vimmon: Command) -> None:
    tokyo = ground.tacker.add("tokyo", "http://10.0.0.1:5000/v3")
    other = ground.tacker.add("other", type="vmware")
    dry = vimmon("tacker", "sync", "--dry-run")
    assert (dry.code, dry.err, ground.registry.list()) == (0, "", [])
    assert dry.out.splitlines()[1].split() == ["register", "tokyo", tokyo, "http://10.0.0.1:5000/v3"]
    assert "would be: 1 registered, 0 updated, 0 de-registered, 1 not watched" in dry.out
    done = vimmon("tacker", "sync", "--once")
    assert (done.code, done.err) == (0, "")
    assert f"not watched  other  {other}  type: 'vmware' is not watched, only openstack and kubernetes" in done.out
    assert "1 registered, 0 updated, 0 de-registered, 1 not watched; 1 VIMs of Tacker's are watched" in done.out
    assert "kept by       tacker" in vimmon("vim", "show", "tokyo").out
    assert vimmon("vim", "show", "tokyo", "--json").json["origin"] == "tacker"


def test_as_json(ground: Ground, vimmon: Command) -> None:
    tokyo = ground.tacker.add("tokyo", "http://10.0.0.1:5000/v3")
    said = vimmon("tacker", "sync", "--once", "--json").json
    assert said["registered"] == [{"id": tokyo, "name": "tokyo", "auth_url": "http://10.0.0.1:5000/v3"}]
    assert (said["followed"], said["doubt"], said["failed"], said["not_watched"]) == (1, None, [], [])
    assert vimmon("tacker", "sync", "--once", "--json").json["registered"] == []


def test_a_large_loss_is_told_with_what_to_do_and_done_when_told(ground: Ground, vimmon: Command) -> None:
    for number in range(4):
        ground.tacker.add(f"vim-{number}")
    vimmon("tacker", "sync", "--once")
    ground.tacker.vims.clear()
    told = vimmon("tacker", "sync", "--once")
    assert told.code == 1
    assert "lacks 4 of 4 VIMs" in told.out
    assert "said so 1 of 3 times" in told.out
    assert "vimmon tacker sync --believe-loss" in told.out
    assert len(ground.registry.list()) == 4
    assert vimmon("tacker", "sync", "--once", "--json").json["doubt"]["times"] == 2
    assert vimmon("tacker", "sync", "--believe-loss").code == 0
    assert ground.registry.list() == []


def test_a_tacker_that_refuses_or_is_away_is_an_error_with_a_remedy(ground: Ground, vimmon: Command) -> None:
    for status, code in ((401, 1), (503, 3)):
        ground.tacker.wrong = lambda _, status=status: Answer(status)  # type: ignore[misc]  # mypy: default
        ended = vimmon("tacker", "sync", "--once")
        assert (ended.code, ended.out) == (code, "")
        assert ended.err.startswith(f"error: Tacker answered HTTP {status}\n  ")


def test_who_changes_or_deregisters_a_vim_of_tackers_by_hand_is_told_what_comes_of_it(
    ground: Ground, vimmon: Command
) -> None:
    ground.tacker.add("tokyo")
    vimmon("tacker", "sync", "--once")
    assert "Tacker's: the next pass" in vimmon("vim", "update", "tokyo", "--name", "edo").err
    assert vimmon("vim", "update", "edo", "--probe", "tcp").err == ""
    ended = vimmon("vim", "deregister", "edo")
    assert (ended.code, "Tacker's: it comes back" in ended.err) == (0, True)
    vimmon("vim", "register", "mine", "--auth-url", "http://10.0.0.1:5000/v3")
    assert vimmon("vim", "deregister", "mine").err == ""


def test_a_conductor_that_is_to_follow_tacker_and_cannot_know_where_it_is_does_not_begin(
    environment: dict[str, str],
) -> None:
    del environment["VIMMON_TACKER_URL"]
    env = {**os.environ, **environment, "VIMMON_TACKER_INTERVAL_S": "60"}
    command = [sys.executable, "-m", "vimmon.conductor"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, "where Tacker is" in ended.stderr) == (2, True)


def test_once_and_every_do_not_go_together(vimmon: Command) -> None:
    ended = vimmon("tacker", "sync", "--once", "--every", "5")
    assert (ended.code, "--every" in ended.err) == (2, True)


def test_of_two_conductors_one_reads_the_list_at_a_time_and_the_other_goes_on_when_that_dies(
    ground: Ground, started: dict[str, Child]
) -> None:
    tokyo = ground.tacker.add("tokyo")
    until(lambda: ground.registry.list())
    until(lambda: len(ground.tacker.asked) >= 4)
    began, asked = ground.bench.redis.time(), len(ground.tacker.asked)
    until(lambda: len(ground.tacker.asked) >= asked + 3)
    ended = ground.bench.redis.time()
    assert ended[0] + ended[1] / 1e6 - began[0] - began[1] / 1e6 > 2 * EVERY_S - 0.2, "not one of each"
    started.pop("a").stop()
    del ground.tacker.vims[tokyo]
    until(lambda: not ground.registry.list())
    assert ground.said().interval_s == EVERY_S
    started["b"].kill(signal.SIGTERM)
    assert started["b"].wait_dead(10)
