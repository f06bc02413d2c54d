"""A conductor killed between any two of its steps: every request is answered by another, and nothing is lost."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from tests.integration.batch import check, said, settle
from tests.integration.bench import Bench
from vimmon.embedded.redis import RedisServer

ROOT = Path(__file__).parents[2]
STEPS_MAX = 40


@pytest.fixture
def dying(bench: Bench, redis_server: RedisServer) -> Iterator[Callable[[int, str], bool]]:
    """Runs a conductor that dies at a step; tells whether it had fewer steps, and lived."""
    environ = {
        **os.environ,
        "VIMMON_REDIS_URL": redis_server.url,
        "VIMMON_DATABASE_URL": str(bench.engine.url),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.support.dying_conductor"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def run(step: int, side: str) -> bool:
            stdin.write(f"{step} {side}\n")
            said = stdout.readline().strip()
            assert said in ("killed", "survived")
            return said == "survived"

        yield run
        stdin.close()


@pytest.mark.parametrize("one_taken", [False, True], ids=["all waiting", "one taken by another that died"])
def test_killed_between_any_two_steps_every_request_is_answered_and_written_once(
    bench: Bench, dying: Callable[[int, str], bool], one_taken: bool
) -> None:
    for step in range(1, STEPS_MAX):
        survived = []
        for side in ("before", "after"):
            bench.redis.flushall()
            vims = [bench.registered(f"{side}-{step}-{number}") for number in range(3)]
            old = bench.registered(f"{side}-{step}-old")
            bench.restarted(old)
            requests = said(vims, old)
            if one_taken:
                # An earlier conductor died in its blocking take: the list that holds the request is in no index.
                bench.redis.rpush(bench.keys.taken("conductor-of-old", "lost"), orjson.dumps(requests.pop(1)))
            bench.push(*requests)
            survived.append(dying(step, side))
            settle(bench)
            check(bench, vims, old)
        if all(survived):
            assert step > 8, "it must have had more steps than that"
            return
    pytest.fail(f"it still dies at step {STEPS_MAX}")
