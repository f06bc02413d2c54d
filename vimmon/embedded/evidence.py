"""What Redis and Mistral themselves say of the monitors: the demonstration's witness, beside vimmon's own answers."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from keystoneauth1.exceptions import ClientException
from keystoneauth1.session import Session
from mistralclient.api.base import APIException
from mistralclient.api.v2.client import Client
from redis.exceptions import RedisError

from vimmon.embedded.stack import Stack
from vimmon.errors import MistralRefused, MistralUnreachable, RedisUnreachable
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.messages import Answer, UpdateVim, call, read_reply
from vimmon.mistral.workflow import NAME_PREFIX, workflow_name
from vimmon.vim import Vim, VimStatus

TIMEOUT_S = 10
ANSWER_S = 3


class Evidence:
    """Raises MistralUnreachable and RedisUnreachable while they do not answer, and MistralRefused."""

    def __init__(self, stack: Stack, executor_log: Path) -> None:
        self._log = executor_log
        self._redis = connect(stack.settings)
        self._keys = Keys(stack.settings.prefix)
        self._mistral = Client(
            mistral_url=stack.mistral.url, session=Session(timeout=TIMEOUT_S), enforce_raw_definitions=True
        )

    def held(self) -> dict[str, list[str]]:
        """VIM → the leases under which executors hold it, as `redis-cli HGETALL vimmon:executor:<id>:held` has it."""
        found: dict[str, list[str]] = {}
        with _redis_understood():
            for executor in cast(list[bytes], self._redis.zrange(self._keys.executors, 0, -1)):
                held = cast(dict[bytes, bytes], self._redis.hgetall(self._keys.held(executor.decode())))
                for vim_id, lease in held.items():
                    found.setdefault(vim_id.decode(), []).append(lease.decode())
        return found

    def lease(self, vim_id: str) -> str | None:
        with _redis_understood():
            value = cast("bytes | None", self._redis.get(self._keys.lease(vim_id)))
        return None if value is None else value.decode()

    def report_as(self, vim: Vim) -> str:
        """What the conductor answers to a report in the name of this VIM's action, sent as anybody could."""
        said = UpdateVim(vim_id=vim.id, status=VimStatus.UNREACHABLE, action_id=vim.action_id or "")
        reply_to = self._keys.replies(f"demo-{uuid.uuid4()}")
        with _redis_understood():
            self._redis.rpush(self._keys.requests, call("1", said, reply_to=reply_to, expires_at=None))
            popped = cast("list[bytes] | None", self._redis.blpop([reply_to], timeout=ANSWER_S))
        if popped is None:
            return f"nothing within {ANSWER_S} s"
        answer = read_reply(popped[1])[1]
        return str(answer.status) if isinstance(answer, Answer) else str(answer)

    def executions(self, vim_id: str) -> dict[str, str]:
        """The executions of a VIM's workflow and their states, running or not."""
        with _mistral_understood():
            found = self._mistral.executions.list(workflow_name=workflow_name(vim_id), fields=["id", "state"])
            return {execution.id: execution.state for execution in found}

    def left_in_mistral(self) -> list[str]:
        """Every workflow and execution of vimmon's, whichever VIM they belong to."""
        with _mistral_understood():
            workflows = [workflow.name for workflow in self._mistral.workflows.list(fields=["name"])]
            executions = [each.workflow_name for each in self._mistral.executions.list(fields=["workflow_name"])]
        return [f"workflow {name}" for name in workflows if name.startswith(NAME_PREFIX)] + [
            f"execution of {name}" for name in executions if name.startswith(NAME_PREFIX)
        ]

    def why_left(self, vim: Vim) -> str | None:
        """Why the action of that generation says, in its executor's log, that it left; None: it has not."""
        pattern = rf"monitor_left vim_id={re.escape(vim.id)} generation={vim.generation} why=(.*)"
        found = re.search(pattern, self._log.read_text(errors="replace"))
        return found[1].strip('"') if found else None


@contextmanager
def _redis_understood() -> Iterator[None]:
    try:
        yield
    except RedisError as trouble:
        raise RedisUnreachable(f"Redis does not answer: {trouble}") from trouble


@contextmanager
def _mistral_understood() -> Iterator[None]:
    try:
        yield
    except APIException as refusal:
        raise (MistralUnreachable if refusal.error_code >= 500 else MistralRefused)(f"Mistral: {refusal}") from refusal
    except ClientException as trouble:
        raise MistralUnreachable(f"Mistral does not answer: {trouble}") from trouble
