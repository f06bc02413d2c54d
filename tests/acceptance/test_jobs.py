"""Jobs that talk to Mistral, broken off at their worst moment, run twice or overtaken: one monitor is left, or none."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Literal

import pytest

from tests.acceptance.stack import PROBE, Stack, becomes, eventually
from tests.support.endpoints import Endpoint
from tests.support.gate import Gate
from tests.support.processes import all_end
from vimmon.vim import Vim

pytestmark = pytest.mark.parametrize("whole_stack", ["one-process"], indirect=True)

MOMENTS: tuple[Literal["before", "after"], ...] = ("before", "after")
EXECUTE = ("POST", "/v2/executions")
LEAVE_WITHIN_S = 10.0
ABANDONED_WITHIN_S = 40.0  # 15 s of silence, up to 5 s until another worker looks, 1 s before the next try; and slack
REACHED_WITHIN_S = 20.0
START_JOB = """
import sys
from vimmon.mistral.jobs import start_monitor, tools
tools()
print("ready", flush=True)
for line in sys.stdin:
    start_monitor(line.strip(), 1)
    print("done", flush=True)
"""

moment = pytest.mark.parametrize("when", MOMENTS)


@pytest.fixture(scope="module")
def gated(whole_stack: Stack) -> Iterator[Gate]:
    """Every call of the stack's conductor to Mistral goes through it, two jobs at a time."""
    with Gate(whole_stack.mistral.port) as gate:
        _replace_conductor(whole_stack, gate)
        yield gate
        whole_stack.stop_conductors()
        whole_stack.start_conductor()


@pytest.fixture
def gate(gated: Gate, stack: Stack) -> Gate:
    becomes(stack.ready_workers, 2)
    return gated


@pytest.fixture
def no_workers(stack: Stack, gate: Gate) -> Iterator[None]:
    """Nobody but the test carries out jobs."""
    stack.stop_conductors()
    stack.start_conductor(workers=0)
    yield
    _replace_conductor(stack, gate)


@dataclass
class Starter:
    """A process that carries out jobs `start_monitor` of generation 1 when it is told to."""

    given: IO[str]
    said: IO[str]

    def begin(self, vim_id: str) -> None:
        self.given.write(f"{vim_id}\n")
        self.given.flush()

    def outcome(self) -> str:
        return self.said.readline().strip()


@contextmanager
def starter(stack: Stack) -> Iterator[Starter]:
    command, env = [sys.executable, "-c", START_JOB], {**os.environ, **stack.env}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        starter = Starter(process.stdin, process.stdout)
        try:
            assert starter.outcome() == "ready"
            yield starter
        finally:
            process.kill()


def _replace_conductor(stack: Stack, gate: Gate) -> None:
    stack.stop_conductors()
    stack.start_conductor(workers=2, env={"VIMMON_MISTRAL_URL": gate.url, "VIMMON_MISTRAL_TIMEOUT_S": "60"})


def _watched_once(stack: Stack, vim: Vim) -> None:
    becomes(lambda: stack.status(vim.id), "REACHABLE")
    becomes(stack.jobs, [])
    assert stack.executions(vim.id) == {str(vim.action_id): "RUNNING"}
    assert len(stack.actions(str(vim.action_id))) == 1
    becomes(lambda: list(stack.held(vim.id).values()), [f"{vim.generation}:{vim.action_id}"])


@moment
def test_a_killed_start_job_is_tried_again_and_leaves_one_monitor(
    stack: Stack, endpoint: Endpoint, gate: Gate, when: Literal["before", "after"]
) -> None:
    with gate.hold(*EXECUTE, when) as call:
        vim = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim
        assert call.reached.wait(REACHED_WITHIN_S)
        horse = stack.only_horse()
        horse.kill()
        assert all_end([horse])
    _watched_once(stack, vim)


def test_a_start_job_whose_worker_is_killed_with_it_is_done_again(stack: Stack, endpoint: Endpoint, gate: Gate) -> None:
    with gate.hold(*EXECUTE, "before") as call:
        vim = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim
        assert call.reached.wait(REACHED_WITHIN_S)
        horse = stack.only_horse()
        worker = horse.parent()
        worker.kill()
        horse.kill()
        assert all_end([worker, horse])
    becomes(lambda: stack.status(vim.id), "REACHABLE", within_s=ABANDONED_WITHIN_S)
    _watched_once(stack, vim)


@moment
def test_an_orphan_of_a_killed_worker_and_its_successor_start_one_monitor(
    stack: Stack, endpoint: Endpoint, gate: Gate, when: Literal["before", "after"]
) -> None:
    with gate.hold(*EXECUTE, when) as call:
        vim = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim
        assert call.reached.wait(REACHED_WITHIN_S)
        horse = stack.only_horse()
        worker = horse.parent()
        worker.kill()
        assert all_end([worker])
    _watched_once(stack, vim)


def test_a_start_job_run_by_two_at_once_starts_one_monitor(
    stack: Stack, endpoint: Endpoint, gate: Gate, no_workers: None
) -> None:
    vims = [stack.registry.register(f"vim {n}", endpoint.url(), probe=PROBE).vim for n in range(5)]
    with starter(stack) as one, starter(stack) as two:
        for vim in vims:
            one.begin(vim.id)
            two.begin(vim.id)
            assert [one.outcome(), two.outcome()] == ["done", "done"]
    for vim in vims:
        becomes(lambda vim=vim: stack.status(vim.id), "REACHABLE")  # type: ignore[misc]  # mypy: default of a lambda
        assert stack.executions(vim.id) == {str(vim.action_id): "RUNNING"}
        assert len(stack.actions(str(vim.action_id))) == 1
    _replace_conductor(stack, gate)  # whose worker carries out the jobs a third time
    for vim in vims:
        _watched_once(stack, vim)


def test_a_start_job_that_comes_after_a_change_leaves_the_new_monitor_alone(
    stack: Stack, endpoint: Endpoint, gate: Gate
) -> None:
    old = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim
    new = stack.registry.update(old.id, auth_url=endpoint.url("/v3/")).vim
    _watched_once(stack, new)
    (action,), row = stack.actions(str(new.action_id)), stack.row(new.id)
    with starter(stack) as late:
        late.begin(old.id)
        assert late.outcome() == "done"
    _watched_once(stack, new)
    assert [found.id for found in stack.actions(str(new.action_id))] == [action.id]
    assert stack.row(new.id) == row


@moment
def test_a_vim_deregistered_before_its_start_has_finished_leaves_nothing(
    stack: Stack, endpoint: Endpoint, gate: Gate, when: Literal["before", "after"]
) -> None:
    with gate.hold(*EXECUTE, when) as call:
        vim = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim
        assert call.reached.wait(REACHED_WITHIN_S)
        stack.registry.deregister(vim.id)
        eventually(lambda: stack.row(vim.id)["cleaned_at"])  # the stop job is done, the start job is not
    becomes(stack.jobs, [])
    assert (stack.executions(vim.id), stack.workflow(vim.id)) == ({}, None)
    becomes(lambda: stack.held(vim.id), {})


@moment
def test_a_vim_changed_before_its_start_has_finished_is_watched_by_the_new_action_only(
    stack: Stack, endpoint: Endpoint, gate: Gate, when: Literal["before", "after"]
) -> None:
    with gate.hold(*EXECUTE, when) as call:
        old = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim
        assert call.reached.wait(REACHED_WITHIN_S)
        new = stack.registry.update(old.id, auth_url=endpoint.url("/v3/")).vim
        becomes(lambda: [job for job in stack.jobs() if "stop" in job], [])
    _watched_once(stack, new)


@pytest.mark.parametrize("held", [("GET", "/v2/executions?"), ("DELETE", "/v2/workflows/")])
def test_a_vim_that_comes_back_while_it_is_cleaned_away_keeps_its_new_execution(
    stack: Stack, endpoint: Endpoint, gate: Gate, held: tuple[str, str]
) -> None:
    old = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim
    _watched_once(stack, old)
    with gate.hold(*held, "before") as call:
        stack.registry.deregister(old.id)
        assert call.reached.wait(REACHED_WITHIN_S)
        new = stack.registry.register("tokyo", endpoint.url(), probe=PROBE, vim_id=old.id).vim
        becomes(lambda: stack.status(new.id), "REACHABLE")
        becomes(lambda: [job for job in stack.jobs() if "start" in job], [])
    _watched_once(stack, new)
    _watched_once(stack, stack.registry.update(new.id, auth_url=endpoint.url("/v3/")).vim)
    assert stack.workflow(new.id)


def test_a_vim_whose_workflow_is_cleaned_away_just_before_it_is_executed_is_watched_all_the_same(
    stack: Stack, endpoint: Endpoint, gate: Gate
) -> None:
    old = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim
    _watched_once(stack, old)
    with gate.hold(*EXECUTE, "before") as start:
        with gate.hold("DELETE", "/v2/workflows/", "before") as clean:
            stack.registry.deregister(old.id)
            assert clean.reached.wait(REACHED_WITHIN_S)
            new = stack.registry.register("tokyo", endpoint.url(), probe=PROBE, vim_id=old.id).vim
            assert start.reached.wait(REACHED_WITHIN_S)
        becomes(lambda: stack.workflow(new.id), None)
    _watched_once(stack, new)


def test_a_conductor_told_to_leave_with_a_job_in_hand_leaves_in_time_and_the_job_is_done_later(
    stack: Stack, endpoint: Endpoint, gate: Gate
) -> None:
    conductor = stack.conductors[-1]
    with gate.hold(*EXECUTE, "before") as call:
        vim = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim
        assert call.reached.wait(REACHED_WITHIN_S)
        processes = stack.workers() + stack.horses()
        os.kill(conductor.pid, signal.SIGTERM)
        assert conductor.wait_dead(LEAVE_WITHIN_S)
        assert all_end(processes, within_s=1)
        assert stack.redis_cli("--scan", "--pattern", "vimmon:rpc:taken*") == ""
        assert stack.redis_cli("--scan", "--pattern", "rq:scheduler-lock:*") == ""
        assert stack.status(vim.id) == "PENDING"
    _replace_conductor(stack, gate)
    _watched_once(stack, vim)
