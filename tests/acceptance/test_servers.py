"""Both kinds of Mistral that the tests start do what a Mistral does: run a workflow's action to its end."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own
import pytest
from keystoneauth1.session import Session
from mistralclient.api.base import APIException
from mistralclient.api.client import client
from mistralclient.api.v2.client import Client

from tests.support.mistral import ThreeProcessMistral
from tests.support.processes import all_end
from tests.support.services import postgres_missing, rabbitmq_missing
from tests.support.strict import require
from vimmon.embedded.mistral import MistralServer
from vimmon.embedded.process import ServerDidNotStart
from vimmon.mistral.client import MistralClient
from vimmon.settings import Settings

WORKFLOW = """
version: '2.0'
greet:
  input: [whom]
  output:
    said: <% $.said %>
  tasks:
    say:
      action: std.echo output="hello <% $.whom %>"
      publish:
        said: <% task().result %>
"""
WATCH = """
version: '2.0'
watch:
  tasks:
    for_ever:
      action: std.async_noop
"""

UNUSUAL = """
version: '2.0'
{name}:
  tasks:
    nothing:
      action: std.noop
      wish: that nobody looks
"""


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MistralServer]:
    with MistralServer(tmp_path_factory.mktemp("embedded")) as server:
        yield server


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeProcessMistral]:
    require(postgres_missing() or rabbitmq_missing())
    with ThreeProcessMistral(tmp_path_factory.mktemp("production")) as server:
        yield server


def connect(url: str) -> Client:
    return client(mistral_url=url, enforce_raw_definitions=True, session=Session(timeout=30))


def outcome(mistral: Client, execution_id: str) -> tuple[str, str]:
    deadline = time.monotonic() + 60
    while (execution := mistral.executions.get(execution_id)).state == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.05)
    return execution.state, execution.output


def greet(url: str, whom: str) -> tuple[str, str]:
    mistral = connect(url)
    mistral.workflows.create(WORKFLOW)
    execution = mistral.executions.create("greet", workflow_input={"whom": whom})
    return outcome(mistral, execution.id)


def test_the_embedded_mistral_runs_a_workflow(embedded: MistralServer) -> None:
    state, output = greet(embedded.url, "Osaka")
    assert (state, '"said": "hello Osaka"' in output) == ("SUCCESS", True)


def test_workflows_of_vimmon_are_not_validated_and_those_of_others_are(
    embedded: MistralServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vimmon.mistral.client.definition", lambda *_: UNUSUAL.format(name="vimmon.tokyo"))
    MistralClient(Settings(mistral_url=embedded.url), environ={}).ensure_workflow("tokyo", "here", new=True)
    mistral = connect(embedded.url)
    assert mistral.workflows.get("vimmon.tokyo").scope == "private"
    with pytest.raises(APIException) as refused:
        mistral.workflows.create(UNUSUAL.format(name="theirs"))
    assert refused.value.error_code == 400


def test_a_port_that_another_mistral_has_is_named_in_the_error(embedded: MistralServer, tmp_path: Path) -> None:
    with pytest.raises(ServerDidNotStart, match=f"port {embedded.port} .* taken") as caught:
        MistralServer(tmp_path, port=embedded.port).start()
    assert "another port" in caught.value.remedy


def test_the_mistral_of_three_processes_runs_a_workflow(production: ThreeProcessMistral) -> None:
    state, output = greet(production.url, "Kyoto")
    assert (state, '"said": "hello Kyoto"' in output) == ("SUCCESS", True)


def test_another_executor_takes_over_from_one_that_was_killed(production: ThreeProcessMistral) -> None:
    first = production.executors[0]
    workers = psutil.Process(first.pid).children()
    second = production.start_executor()
    first.kill()
    assert workers
    assert all_end(workers)
    mistral = connect(production.url)
    mistral.workflows.create("version: '2.0'\nafterwards:\n  tasks:\n    nothing:\n      action: std.noop\n")
    assert outcome(mistral, mistral.executions.create("afterwards").id)[0] == "SUCCESS"
    assert second.alive


def test_the_embedded_mistral_keeps_its_data_and_leaves_no_process_behind(tmp_path: Path) -> None:
    server = MistralServer(tmp_path).start()
    try:
        connect(server.url).workflows.create(WATCH)
        running = connect(server.url).executions.create("watch").id
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 10  # it does not wait for the action
        assert not psutil.pid_exists(server.pid)
        server.start()
        mistral = connect(server.url)
        assert mistral.executions.get(running).state == "RUNNING"
        mistral.executions.delete(running, force=True)
        mistral.workflows.delete("watch")
        assert (mistral.executions.list(), mistral.workflows.list()) == ([], [])
    finally:
        server.stop()
    assert " ERROR mistral" not in server.child.log.read_text()
