"""A VIM's workflow as data: one task, one action, which stays until it is no longer wanted.

One long action and not a loop of short ones: Mistral keeps every task it ever ran. An executor that is cut off refuses
the action, and Mistral hands it out again, as likely as not to another one.
"""

import json
from typing import Any

ACTION = "vimmon.ping_vim"
NAME_PREFIX = "vimmon."
RETRY = {"delay": 5, "count": 5}  # s, times: less than the start grace, and few enough when every executor refuses
INPUTS = ("vim_id", "action_id", "generation", "probe")


def workflow_name(vim_id: str) -> str:
    return f"{NAME_PREFIX}{vim_id}"


def vim_of(name: str) -> str:
    """The VIM that a workflow of this name watches."""
    return name.removeprefix(NAME_PREFIX)


def installation_tag(installation: str) -> str:
    """Marks what this installation made: another's is never touched."""
    return f"vimmon-installation-{installation}"


def definition(vim_id: str, installation: str) -> str:
    """The workflow in Mistral's language v2, as JSON, which is YAML without its surprises."""
    return json.dumps(
        {
            "version": "2.0",
            workflow_name(vim_id): {
                "description": "Watches one VIM and reports to vimmon's conductor",
                "tags": ["vimmon", installation_tag(installation)],
                "input": list(INPUTS),
                "tasks": {
                    "monitor": {
                        "action": ACTION,
                        "input": {name: f"<% $.{name} %>" for name in INPUTS},
                        "retry": RETRY,
                    }
                },
            },
        }
    )


def workflow_input(*, vim_id: str, action_id: str, generation: int, probe: dict[str, Any]) -> dict[str, Any]:
    return {"vim_id": vim_id, "action_id": action_id, "generation": generation, "probe": probe}
