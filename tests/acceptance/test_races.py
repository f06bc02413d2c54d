"""Two servers change the same VIM at once: one wins, the other is told, and in the end one monitor is left."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from tests.acceptance.stack import PROBE, Stack, becomes
from tests.support.endpoints import Endpoint

ROUNDS = 100
ROOT = Path(__file__).parents[2]
SETTLE_S = 90.0


class Changer:
    """A registry in a process of its own, that changes the VIM's auth_url when it is told to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in: IO[str] = process.stdin
        self._out: IO[str] = process.stdout

    def go(self) -> None:
        self._in.write("go\n")
        self._in.flush()

    def outcome(self) -> str:
        return self._out.readline().strip()


@contextmanager
def changing(stack: Stack, vim_id: str, url: str) -> Iterator[Changer]:
    command = [sys.executable, "-m", "tests.support.changer", vim_id, url]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **stack.env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            changer = Changer(process)
            assert changer.outcome() == "ready"
            yield changer
        finally:
            process.kill()


def test_of_200_changes_by_two_servers_each_counts_once_and_one_monitor_is_left(
    stack: Stack, endpoint: Endpoint
) -> None:
    vim_id = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim.id
    outcomes: Counter[str] = Counter()
    with ExitStack() as both:
        changers = [both.enter_context(changing(stack, vim_id, endpoint.url(f"/v3/{name}"))) for name in "ab"]
        for _ in range(ROUNDS):
            for changer in changers:
                changer.go()
            outcomes.update(changer.outcome() for changer in changers)
    assert outcomes["accepted"] + outcomes["refused"] == 2 * ROUNDS
    assert outcomes["refused"]  # they did meet
    row = stack.row(vim_id)
    assert row["generation"] == 1 + outcomes["accepted"]
    lease = f"{row['generation']}:{row['action_id']}"
    assert stack.lease(vim_id) == lease

    becomes(stack.jobs, [], within_s=SETTLE_S)
    assert stack.executions(vim_id) == {row["action_id"]: "RUNNING"}
    becomes(lambda: list(stack.held(vim_id).values()), [lease])
    becomes(lambda: stack.status(vim_id), "REACHABLE")
    after = stack.row(vim_id)
    assert (after["generation"], after["action_id"]) == (row["generation"], row["action_id"])
    becomes(lambda: stack.committed(vim_id)[0], str(row["generation"]))
