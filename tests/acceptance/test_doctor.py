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


def concluding(stack: Stack, code: int, away: set[str], **env: str) -> dict[str, Any]:
    """What each check found, once it ends so: on a busy machine an executor's sign of life may be late for a moment."""
    ended, found = doctor(stack, **env)

    def as_wanted() -> bool:
        nonlocal ended, found
        if (ended, states(found, "away")) == (code, away):
            return True
        ended, found = doctor(stack, **env)
        return False

    try:
        eventually(as_wanted)
    except AssertionError:
        raise AssertionError(f"it ended with {ended}: {found}") from None
    return found


def test_a_whole_vimmon_is_well_and_each_part_that_is_gone_is_named(stack: Stack, endpoint: Endpoint) -> None:
    vim = stack.registry.register("tokyo", endpoint.url(), probe=PROBE).vim
    becomes(lambda: stack.status(vim.id), "REACHABLE")
    found = concluding(stack, 0, set())
    assert states(found, "wrong") | states(found, "unknown") == set()
    assert found["action"]["found"] == "vimmon.ping_vim is known to Mistral's API"
    assert found["Mistral"]["found"].startswith(f"{stack.mistral.url} answers in ")
    assert found["VIMs"]["found"] == "all 1 are held as the database wants"
    assert stack.installation() in found["installation"]["found"]
    concluding(stack, 3, {"Mistral"}, VIMMON_MISTRAL_URL=f"http://127.0.0.1:{free_port()}/v2")
    concluding(stack, 3, {"Redis"}, VIMMON_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    count = len([child for child in stack.conductors if child.alive])
    stack.stop_conductors()
    try:
        concluding(stack, 3, {"conductors"})
    finally:
        for _ in range(count):
            stack.start_conductor()
    concluding(stack, 0, set())
