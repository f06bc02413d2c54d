"""The three sequences, on both kinds of Mistral, seen from outside: Mistral's client, redis-cli, SQL."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.acceptance.stack import CHECK_S, JITTER, PATIENCE_S, PROBE, SLACK_S, Stack, becomes, eventually
from tests.support.endpoints import Endpoint
from tests.support.terminal import VIMMON
from vimmon.vim import Vim

Watch = Callable[..., Vim]


@pytest.fixture
def watch(stack: Stack, endpoint: Endpoint) -> Watch:
    """Registers the endpoint as a VIM, and returns it as it was registered when it is REACHABLE."""

    def register(name: str = "tokyo", path: str = "/v3") -> Vim:
        vim = stack.registry.register(name, endpoint.url(path), probe=PROBE).vim
        becomes(lambda: stack.status(vim.id), "REACHABLE")
        return vim

    return register


def test_a_registered_vim_becomes_reachable(stack: Stack, endpoint: Endpoint) -> None:
    change = stack.registry.register("tokyo", endpoint.url(), probe=PROBE)
    assert (change.delayed, change.vim.status, change.vim.generation) == (None, "PENDING", 1)
    becomes(lambda: stack.status(change.vim.id), "REACHABLE")
    row = stack.row(change.vim.id)
    assert (row["action_id"], row["generation"], row["deleted_at"]) == (change.vim.action_id, 1, None)
    assert row["reason"].startswith("HTTP 200 in ")
    assert stack.changes(change.vim.id) == [(1, "PENDING", "REACHABLE")]


def test_mistral_runs_one_workflow_for_a_registered_vim(stack: Stack, endpoint: Endpoint, watch: Watch) -> None:
    vim = watch()
    workflow = stack.workflow(vim.id)
    assert workflow is not None
    assert f"vimmon-installation-{stack.installation()}" in workflow.tags
    assert vim.action_id is not None
    assert stack.executions(vim.id) == {vim.action_id: "RUNNING"}
    becomes(lambda: stack.row(vim.id)["execution_id"], vim.action_id)


def test_the_monitor_action_runs_in_the_executor_with_what_it_needs(
    stack: Stack, endpoint: Endpoint, watch: Watch
) -> None:
    vim = watch()
    (action,) = stack.actions(vim.action_id or "")
    assert (action.name, action.state) == ("vimmon.ping_vim", "RUNNING")
    given = json.loads(action.input)
    probe = given.pop("probe")
    assert given == {"vim_id": vim.id, "action_id": vim.action_id, "generation": 1}
    assert (probe["auth_url"], probe["kind"], probe["interval_s"]) == (endpoint.url(), "http", 0.5)


def test_redis_shows_who_watches_a_registered_vim(stack: Stack, watch: Watch) -> None:
    vim = watch()
    lease = f"1:{vim.action_id}"
    assert stack.lease(vim.id) == lease
    held = eventually(lambda: stack.held(vim.id))
    assert list(held.values()) == [lease]
    row = stack.row(vim.id)
    becomes(lambda: stack.committed(vim.id), ["1", str(row["status_seq"]), "REACHABLE", row["holder"]])
    assert row["holder"].startswith(next(iter(held)))


def test_a_vim_that_goes_down_is_unreachable_until_it_is_back(stack: Stack, endpoint: Endpoint, watch: Watch) -> None:
    vim = watch()
    endpoint.stop()
    becomes(lambda: stack.status(vim.id), "UNREACHABLE")
    row = stack.row(vim.id)
    assert row["reason"] == "connection refused"
    becomes(lambda: stack.committed(vim.id), ["1", str(row["status_seq"]), "UNREACHABLE", row["holder"]])
    endpoint.start()
    becomes(lambda: stack.status(vim.id), "REACHABLE")
    changes = ["PENDING", "REACHABLE", "UNREACHABLE", "REACHABLE"]
    assert stack.changes(vim.id) == [(1, old, new) for old, new in pairwise(changes)]


def test_another_auth_url_brings_another_action(stack: Stack, endpoint: Endpoint, watch: Watch) -> None:
    old = watch()
    with Endpoint() as elsewhere:
        new = stack.registry.update(old.id, auth_url=elsewhere.url()).vim
        assert (new.status, new.generation) == ("PENDING", 2)
        assert new.action_id not in (None, old.action_id)
        assert stack.lease(old.id) == f"2:{new.action_id}"
        becomes(lambda: stack.status(old.id), "REACHABLE")
        becomes(lambda: stack.committed(old.id)[0], "2")
        becomes(lambda: stack.executions(old.id), {str(new.action_id): "RUNNING"})
        becomes(lambda: list(stack.held(old.id).values()), [f"2:{new.action_id}"])
        endpoint.stop()  # the old address means nothing any more
        elsewhere.stop()
        becomes(lambda: stack.status(old.id), "UNREACHABLE")
        assert stack.row(old.id)["action_id"] == new.action_id


def test_other_settings_of_a_probe_take_effect_without_a_new_registration(stack: Stack, watch: Watch) -> None:
    vim = watch()
    update = [str(VIMMON), "vim", "update", "tokyo", "--probe"]
    env = {"PATH": os.environ["PATH"], **stack.env}
    for number, (settings, status) in enumerate(
        [("preset=plain,expect_status=401", "UNREACHABLE"), ("expect_status=200", "REACHABLE")], 2
    ):
        subprocess.run([*update, settings], check=True, env=env, capture_output=True, timeout=PATIENCE_S)
        becomes(lambda: stack.status(vim.id), status)
        row = stack.row(vim.id)
        assert (row["generation"], row["deleted_at"]) == (number, None)
        lease = f"{number}:{row['action_id']}"
        becomes(lambda: list(stack.held(vim.id).values()), [lease])
    assert "HTTP 200, but 401 was expected" in [change.reason for change in stack.registry.history(vim.id)]
    assert [found.id for found in stack.registry.list()] == [vim.id]


def test_the_old_action_exits_within_one_check(stack: Stack, endpoint: Endpoint, watch: Watch) -> None:
    old = watch()
    stack.registry.update(old.id, auth_url=endpoint.url("/v3/"))
    line = eventually(lambda: stack.left(old.id, 1), within_s=CHECK_S * (1 + JITTER) + SLACK_S)
    assert line.endswith(('newer action came"', '"lease 2:' + stack.row(old.id)["action_id"] + '"', "why=bad_action"))


@pytest.mark.parametrize("whole_stack", ["three-process"], indirect=True)
def test_an_old_action_in_another_executor_learns_it_by_its_lease(
    stack: Stack, endpoint: Endpoint, watch: Watch
) -> None:
    """Mistral hands actions to its two executors in turn, so that soon two in a row run in different ones."""
    vim = watch()
    for generation in range(2, 10):
        (holder,) = eventually(lambda: stack.held(vim.id))
        new = stack.registry.update(vim.id, auth_url=endpoint.url(f"/v3/{generation}")).vim
        becomes(lambda: list(stack.held(vim.id).values()), [f"{generation}:{new.action_id}"])
        if holder not in stack.held(vim.id):
            break
    line = eventually(lambda: stack.left(vim.id, generation - 1), within_s=CHECK_S * (1 + JITTER) + SLACK_S)
    assert line.endswith(f'why="lease {generation}:{new.action_id}"')
    becomes(lambda: stack.status(vim.id), "REACHABLE")


def test_a_late_report_of_the_old_action_changes_nothing(stack: Stack, endpoint: Endpoint, watch: Watch) -> None:
    old = watch()
    holder = stack.row(old.id)["holder"]
    stack.registry.update(old.id, auth_url=endpoint.url("/v3/"))
    becomes(lambda: stack.status(old.id), "REACHABLE")
    eventually(lambda: stack.row(old.id)["execution_id"])
    before, changes = stack.row(old.id), stack.changes(old.id)
    late = {"vim_id": old.id, "status": "UNREACHABLE", "action_id": old.action_id, "seq": 99, "holder": holder}
    for generation in ({}, {"generation": 1}, {"generation": 2}, {"generation": 3}):
        assert stack.call(**late, **generation)["result"] == {"status": "bad_action"}
    assert (stack.row(old.id), stack.changes(old.id)) == (before, changes)


def test_the_action_of_a_deregistered_vim_exits_within_one_check(stack: Stack, watch: Watch) -> None:
    vim = watch()
    eventually(lambda: stack.held(vim.id))
    stack.registry.deregister("tokyo")
    deregistered = time.monotonic()
    assert stack.lease(vim.id) == "2:-"
    becomes(lambda: stack.held(vim.id), {}, within_s=CHECK_S * (1 + JITTER) + SLACK_S)
    assert time.monotonic() - deregistered < CHECK_S * (1 + JITTER) + SLACK_S
    assert 'why="lease 2:-"' in str(stack.left(vim.id, 1))


def test_nothing_of_a_deregistered_vim_is_left_in_mistral(stack: Stack, watch: Watch) -> None:
    vim = watch()
    stack.registry.deregister(vim.id)
    becomes(lambda: stack.executions(vim.id), {})
    becomes(lambda: stack.workflow(vim.id), None)
    eventually(lambda: stack.row(vim.id)["cleaned_at"])
    row = stack.row(vim.id)
    assert (row["action_id"], row["live_name"], row["generation"]) == (None, None, 2)
    assert row["deleted_at"] is not None


def test_a_report_on_a_deregistered_vim_is_refused(stack: Stack, watch: Watch) -> None:
    vim = watch()
    stack.registry.deregister(vim.id)
    eventually(lambda: stack.row(vim.id)["cleaned_at"])
    before = stack.row(vim.id)
    answer = stack.call(vim_id=vim.id, status="REACHABLE", action_id=vim.action_id, holder=before["holder"] or "x")
    assert answer["result"] == {"status": "bad_action"}
    assert stack.row(vim.id) == before


@pytest.mark.parametrize("whole_stack", ["one-process"], indirect=True)
def test_a_vim_registered_while_mistral_is_down_is_watched_when_it_is_back(stack: Stack, endpoint: Endpoint) -> None:
    stack.mistral.stop()
    change = stack.registry.register("tokyo", endpoint.url(), probe=PROBE)
    assert change.delayed is None
    eventually(lambda: f"job_failed job=start-{change.vim.id}-1" in stack.conductor_log())
    assert stack.status(change.vim.id) == "PENDING"
    stack.mistral.start()
    becomes(lambda: stack.status(change.vim.id), "REACHABLE")
    assert stack.executions(change.vim.id) == {str(change.vim.action_id): "RUNNING"}
