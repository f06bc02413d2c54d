"""The Mistral action `vimmon.ping_vim`: hands its VIM over to this process's host, and returns at once.

It is asynchronous: Mistral keeps it RUNNING, without a thread, until the execution is removed. The only module that
knows mistral_lib. Mistral loads the actions in its API and its engine, too, where none ever runs: so what watching
needs is loaded when the first one does.
"""

import sys
from typing import Any

from mistral_lib.actions import Action
from mistral_lib.exceptions import ActionException

from vimmon.errors import UnsuitableExecutor, VimmonError


class PingVim(Action):  # type: ignore[misc]  # mistral_lib has no types
    """Watches one VIM. Inputs: the VIM's id, the id and generation of this action, and the probe with its auth_url."""

    def __init__(self, vim_id: str, action_id: str, generation: int, probe: dict[str, Any]) -> None:
        super().__init__()
        self.vim_id = vim_id
        self.action_id = action_id
        self.generation = generation
        self.probe = probe

    def is_sync(self) -> bool:
        return False

    def run(self, context: object) -> None:
        """Raises ActionException, which Mistral shows as the task's error, where this process cannot watch."""
        try:
            refuse_eventlet()
            from vimmon.actions.monitor import parse_assignment
            from vimmon.actions.thread import take_on

            take_on(parse_assignment(self.vim_id, self.action_id, self.generation, self.probe))
        except VimmonError as error:
            raise ActionException(f"vimmon: {error}. {error.remedy}") from error


def refuse_eventlet() -> None:
    """Raises UnsuitableExecutor in a process patched by eventlet, as older Mistral executors are: there a thread is no
    thread, and the loop of the monitors would block the whole executor."""
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and (patcher.is_monkey_patched("thread") or patcher.is_monkey_patched("socket")):
        raise UnsuitableExecutor(
            "this Mistral executor is patched by eventlet, and cannot run an event loop of its own"
        )
