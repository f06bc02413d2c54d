"""The conductor as the processes it is: on one list with others, killed, told to leave, refused."""

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from redis import Redis

from tests.integration.bench import REPLIES, Bench, update_vim
from tests.support.polling import until
from tests.support.processes import all_end, command_of, has_ended
from vimmon.embedded.process import Child
from vimmon.embedded.redis import RedisServer
from vimmon.registry.database import open_engine, upgrade

Start = Callable[..., Child]


@pytest.fixture
def start(bench: Bench, redis_server: RedisServer, tmp_path: Path) -> Iterator[Start]:
    """Starts conductors on the bench's Redis and database, and waits for their heartbeats."""
    started: list[Child] = []

    def run(*arguments: str, beats: int = 1, ttl_s: float = 1) -> Child:
        env = {
            "VIMMON_REDIS_URL": redis_server.url,
            "VIMMON_DATABASE_URL": str(bench.engine.url),
            "VIMMON_CONDUCTOR_BEAT_S": "0.2",
            "VIMMON_CONDUCTOR_TTL_S": str(ttl_s),
        }
        before = bench.redis.zcard(bench.keys.conductors)
        child = Child(
            f"conductor-{len(started)}", [sys.executable, "-m", "vimmon.conductor", *arguments], tmp_path, env=env
        )
        started.append(child)
        until(lambda: bench.redis.zcard(bench.keys.conductors) >= before + beats)
        return child

    yield run
    for child in started:
        child.stop()


def processes(conductor: Child, title: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(conductor.pid).children(recursive=True)
        if title in command_of(process) and not has_ended(process)
    ]


@pytest.mark.parametrize("conductors", [2, 3])
def test_several_conductors_share_one_list_and_answer_each_request_once(
    bench: Bench, start: Start, conductors: int
) -> None:
    vims = [bench.registered(f"vim-{number}") for number in range(100)]
    start("--rpc", str(conductors), "--workers", "0", beats=conductors, ttl_s=15)  # nobody takes a slow one for dead
    rounds = ["REACHABLE", "UNREACHABLE", "REACHABLE", "UNREACHABLE", "REACHABLE"]
    for seq, status in enumerate(rounds, start=1):
        bench.push(*[update_vim(vim, status, seq=seq, id=f"{vim.name}-{seq}") for vim in vims])
    until(lambda: bench.redis.llen(REPLIES) >= len(vims) * len(rounds))
    answers = defaultdict(list)
    for reply in bench.replies():
        answers[reply["id"]].append(reply["result"])
    assert len(answers) == len(vims) * len(rounds)
    assert all(len(given) == 1 for given in answers.values())
    for vim in vims:
        assert (bench.row(vim)["status"], bench.row(vim)["status_seq"]) == ("REACHABLE", len(rounds))
        assert bench.redis.get(bench.keys.status(vim.id)) == b"1:5:REACHABLE:anonymous"
    until(lambda: bench.redis.keys("vimmon:rpc:taken:*") == [])


def test_a_process_that_dies_is_started_again_and_what_it_had_taken_is_answered(bench: Bench, start: Start) -> None:
    vim = bench.registered()
    conductor = start("--workers", "0")
    (rpc,) = processes(conductor, "vimmon-rpc")
    rpc.send_signal(signal.SIGSTOP)  # it is in its blocking take: the request falls into its taken-list
    bench.push(update_vim(vim, seq=1, id="a"))
    rpc.kill()
    until(lambda: bench.redis.llen(REPLIES) == 1)
    assert bench.row(vim)["status"] == "REACHABLE"
    (successor,) = processes(conductor, "vimmon-rpc")
    assert successor.pid != rpc.pid


def test_told_to_leave_it_finishes_what_it_has_in_hand_and_leaves_within_ten_seconds(
    bench: Bench, start: Start
) -> None:
    vims = [bench.registered(f"vim-{number}") for number in range(50)]
    conductor = start("--rpc", "2", "--workers", "1", beats=2)
    children = psutil.Process(conductor.pid).children(recursive=True)
    requests = [update_vim(vim, seq=seq, id=f"{vim.name}-{seq}") for seq in range(1, 101) for vim in vims]
    bench.push(*requests)
    until(lambda: bench.redis.llen(REPLIES) > 0)
    os.kill(conductor.pid, signal.SIGTERM)
    assert conductor.wait_dead(10)
    assert all_end(children)
    assert bench.redis.keys("vimmon:rpc:taken:*") == []
    assert bench.redis.keys("vimmon:conductor:*") == []
    assert bench.redis.llen(REPLIES) + bench.redis.llen(bench.keys.requests) == len(requests)


def test_killed_it_leaves_no_process_behind(bench: Bench, start: Start) -> None:
    conductor = start()
    everybody = psutil.Process(conductor.pid)
    until(lambda: len(everybody.children(recursive=True)) >= 5)  # rpc, worker, the worker's program, upkeep, reconcile
    children = everybody.children(recursive=True)
    os.kill(conductor.pid, signal.SIGKILL)
    assert all_end(children, within_s=15)


def run_once(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vimmon.conductor"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_redis_of_another_database_is_refused(bench: Bench, redis_server: RedisServer, tmp_path: Path) -> None:
    bench.redis.set(bench.keys.installation, "somebody-else")
    done = run_once(VIMMON_REDIS_URL=redis_server.url, VIMMON_DATABASE_URL=str(bench.engine.url))
    assert done.returncode == 1
    assert "another vimmon, of another database, uses this Redis" in done.stderr
    assert "VIMMON_PREFIX" in done.stderr


def test_what_cannot_be_reached_or_is_wrong_is_said_with_its_remedy(
    bench: Bench, redis_server: RedisServer, tmp_path: Path
) -> None:
    there = {"VIMMON_REDIS_URL": redis_server.url, "VIMMON_DATABASE_URL": str(bench.engine.url)}
    without_redis = run_once(**there | {"VIMMON_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert (without_redis.returncode, "VIMMON_REDIS_URL" in without_redis.stderr) == (3, True)
    without_tables = run_once(**there | {"VIMMON_DATABASE_URL": f"sqlite:///{tmp_path}/new.sqlite"})
    assert (without_tables.returncode, "vimmon db upgrade" in without_tables.stderr) == (3, True)
    misspelt = run_once(**there, VIMMON_RPC_BACH="10")
    assert (misspelt.returncode, "VIMMON_RPC_BATCH" in misspelt.stderr) == (2, True)


def test_several_conductors_on_postgresql_share_one_list(
    redis: Redis, redis_server: RedisServer, tmp_path: Path
) -> None:
    """The same VIMs in the batches of two conductors at once: they wait for each other's rows, and never both."""
    from tests.support.services import fresh_postgres_database, postgres_missing
    from tests.support.strict import require

    require(postgres_missing())
    with fresh_postgres_database() as url:
        engine = open_engine(url)
        upgrade(engine)
        bench = Bench(redis, engine)
        vims = [bench.registered(f"vim-{number}") for number in range(40)]
        env = {"VIMMON_REDIS_URL": redis_server.url, "VIMMON_DATABASE_URL": url}
        command = [sys.executable, "-m", "vimmon.conductor", "--rpc", "2", "--workers", "0"]
        child = Child("conductor", command, tmp_path, env=env)
        try:
            until(lambda: redis.zcard(bench.keys.conductors) == 2)
            for seq in range(1, 26):
                bench.push(*[update_vim(vim, ["REACHABLE", "UNREACHABLE"][seq % 2], seq=seq) for vim in vims])
            until(lambda: redis.llen(REPLIES) == 25 * len(vims))
            assert all("result" in reply for reply in bench.replies())
            assert {(bench.row(vim)["status"], bench.row(vim)["status_seq"]) for vim in vims} == {("UNREACHABLE", 25)}
        finally:
            child.stop()
            engine.dispose()
