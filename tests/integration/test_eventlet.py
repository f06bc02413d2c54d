"""A Mistral executor that eventlet has patched: the action says so, instead of blocking the whole executor."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.support.strict import require

RUN_ACTION = """
import sys
patched = sys.argv[1:]
if patched != ["not"]:
    import eventlet
    eventlet.monkey_patch(**{part: True for part in patched})
from mistral_lib.exceptions import ActionException
from vimmon.actions.action import PingVim
probe = {"kind": "tcp", "auth_url": "http://127.0.0.1:9"}
try:
    PingVim("vim", "action", 1, probe).run(None)
except ActionException as error:
    print(error)
else:
    print("it watches")
"""


def answer_of_the_action(*patched: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", RUN_ACTION, *patched]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


@pytest.mark.parametrize("patched", [(), ("thread",), ("socket",)], ids=["all", "thread", "socket"])
def test_the_action_refuses_an_executor_that_eventlet_has_patched(patched: tuple[str, ...]) -> None:
    require(None if find_spec("eventlet") else "eventlet is not installed: pip install 'vimmon[dev]'")
    answer = answer_of_the_action(*patched)
    assert answer.startswith("vimmon: this Mistral executor is patched by eventlet")
    assert "Run Mistral 21 or later" in answer


def test_the_action_takes_any_other_executor() -> None:
    assert answer_of_the_action("not") == "it watches"
