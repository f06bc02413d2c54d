"""`vimmon doctor` where all parts run, and where some do not."""

import json
import os
import subprocess
from typing import Any

from tests.acceptance.stack import PATIENCE_S, PROBE, Stack, becomes, eventually
from tests.support.endpoints import Endpoint
from tests.support.terminal import VIMMON
from vimmon.embedded.process import free_port


def doctor(stack: Stack, **env: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what each check found."""
    environment = {"PATH": os.environ["PATH"], **stack.env, **env}
    command = [str(VIMMON), "doctor", "--json"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    assert ended.stderr == ""
    return ended.returncode, {finding["check"]: finding for finding in json.loads(ended.stdout)["findings"]}


def states(found: dict[str, Any], state: str) -> set[str]:
    return {name for name, finding in found.items() if finding["state"] == state}


def test_a_whole_vimmon_is_well_and_each_part_that_is_gone_is_named(stack: Stack, endpoint: Endpoint) -> None:
    vim = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim
    becomes(lambda: stack.status(vim.id), "REACHABLE")
    code, found = doctor(stack)
    assert (code, states(found, "wrong") | states(found, "away") | states(found, "unknown")) == (0, set()), found
    assert found["action"]["found"] == "vimmon.ping_vim is known to Mistral's API"
    assert found["Mistral"]["found"].startswith(f"{stack.mistral.url} answers in ")
    assert found["VIMs"]["found"] == "all 1 are held as the database wants"
    assert stack.installation() in found["installation"]["found"]
    code, found = doctor(stack, VIMMON_MISTRAL_URL=f"http://127.0.0.1:{free_port()}/v2")
    assert (code, states(found, "away")) == (3, {"Mistral"})
    code, found = doctor(stack, VIMMON_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert (code, states(found, "away")) == (3, {"Redis"})
    count = len([child for child in stack.conductors if child.alive])
    stack.stop_conductors()
    eventually(lambda: states(doctor(stack)[1], "away") == {"conductors"})
    assert doctor(stack)[0] == 3
    for _ in range(count):
        stack.start_conductor()
    eventually(lambda: doctor(stack)[0] == 0)
