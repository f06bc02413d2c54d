"""The only door to Mistral's API: what vimmon asks of it, each call with a timeout, each safe to repeat.

Without `OS_AUTH_URL` Mistral is asked without a token; with it, as the user that the standard `OS_*` variables name, at
the address that `VIMMON_MISTRAL_URL` or else Keystone's catalogue gives (service type `workflowv2`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1.session import Session
from mistralclient.api.base import APIException
from mistralclient.api.v2.client import Client

from vimmon.errors import MistralRefused, MistralUnreachable, SettingsError
from vimmon.keystone import endpoint, open_session
from vimmon.mistral.sweep import Execution, Existing
from vimmon.mistral.workflow import NAME_PREFIX, definition, installation_tag, vim_of, workflow_name
from vimmon.settings import DEFAULT_MISTRAL_URL, Settings, environment

NOT_FOUND, CONFLICT = 404, 409
PAGE = 1000
INFO_MAX = 300  # its end says what went wrong
PASSING = (408, 429, 500, 502, 503, 504)  # it may go through the next time


class MistralClient:
    """Raises MistralUnreachable where trying again may help, MistralRefused where it will not."""

    def __init__(self, settings: Settings, *, environ: Mapping[str, str] | None = None) -> None:
        session, self.url = _open(settings, environment(environ))
        self._client = Client(mistral_url=self.url, session=session, enforce_raw_definitions=True)

    def ensure_workflow(self, vim_id: str, installation: str, *, new: bool = False) -> None:
        """The VIM's workflow is there afterwards, whoever made it. `new`: most likely it is not there yet."""
        with _understood():
            if new or _absent_is_none(lambda: self._client.workflows.get(workflow_name(vim_id))) is None:
                try:
                    self._create_workflow(definition(vim_id, installation))
                except APIException as error:
                    if error.error_code != CONFLICT:  # somebody else was quicker
                        raise

    def _create_workflow(self, text: str) -> None:
        # The library's own create() cannot ask that it is not validated, which takes an API 0.24 s.
        self._client.workflows._create(
            "/workflows?scope=private&namespace=&skip_validation=true",
            text,
            response_key="workflows",
            dump_json=False,
            headers={"content-type": "text/plain"},
            is_iter_resp=True,
        )

    def start(self, vim_id: str, execution_id: str, workflow_input: Mapping[str, Any]) -> str:
        """Executes the VIM's workflow under the given id; a second try gets the first one back. Returns the id."""
        request = {
            "id": execution_id,
            "workflow_name": workflow_name(vim_id),
            "input": json.dumps(dict(workflow_input)),
            "description": f"vimmon: watches VIM {vim_id}",
        }
        with _understood():
            # The library's own create() has no room for an id.
            execution = self._client.executions._create("/executions", request)
        return str(execution.id)

    def delete_execution(self, execution_id: str) -> None:
        """The execution is gone afterwards, running or not. Its action goes on, until it finds that nobody wants it."""
        with _understood():
            _absent_is_none(lambda: self._client.executions.delete(execution_id, force=True))

    def executions_of(self, vim_id: str) -> list[str]:
        """The ids of all executions of the VIM's workflow."""
        with _understood():
            found = self._all(self._client.executions, ["id", "workflow_name"], named=workflow_name(vim_id))
            return [execution.id for execution in found]

    def delete_all(self, vim_id: str, executions: Iterable[str]) -> None:
        """These executions of the VIM's, and its workflow, are gone afterwards. Others of it go on without."""
        for execution_id in executions:
            self.delete_execution(execution_id)
        with _understood():
            _absent_is_none(lambda: self._client.workflows.delete(workflow_name(vim_id)))

    def existing(self, installation: str) -> Existing:
        """All workflows and executions that carry the installation's tag."""
        tag = installation_tag(installation)
        with _understood():
            workflows = self._all(self._client.workflows, ["name", "tags"])
            executions = self._all(self._client.executions, ["id", "workflow_name", "state", "tags"])
            return Existing(
                frozenset(vim_of(one.name) for one in workflows if tag in (one.tags or ())),
                tuple(self._execution(one) for one in executions if tag in (one.tags or ())),
            )

    def _execution(self, found: Any) -> Execution:
        """With Mistral's explanation, which can be long and is asked for only where the execution failed."""
        info = ""
        if found.state == "ERROR":
            whole = _absent_is_none(lambda: self._client.executions.get(found.id))
            info = str(whole.state_info or "") if whole else ""
        return Execution(found.id, vim_of(found.workflow_name), found.state, " ".join(info.split())[-INFO_MAX:])

    @staticmethod
    def _all(manager: Any, fields: list[str], *, named: str = f"has:{NAME_PREFIX}") -> list[Any]:
        """All whose workflow is named so, page by page: Mistral gives no more than a thousand at once."""
        found: list[Any] = []
        where = {"workflow_name" if "workflow_name" in fields else "name": named}
        while page := manager.list(fields=fields, limit=PAGE, marker=found[-1].id if found else "", **where):
            found += page
            if len(page) < PAGE:
                break
        return found

    def knows_action(self, name: str) -> bool:
        """Whether it is installed where the API runs."""
        with _understood():
            return _absent_is_none(lambda: self._client.actions.get(name)) is not None

    def is_there(self) -> None:
        """Asks for nothing but an answer."""
        with _understood():
            self._client.workflows.list(limit=1, fields=["id"])


def _open(settings: Settings, environ: Mapping[str, str]) -> tuple[Session, str]:
    session = open_session(environ, timeout_s=settings.mistral_timeout_s)
    if settings.mistral_url or session.auth is None:
        return session, settings.mistral_url or DEFAULT_MISTRAL_URL
    with _understood():
        url = endpoint(session, environ, service_type="workflowv2")
    if url is None:
        raise SettingsError("Keystone's catalogue has no service workflowv2", remedy="Set VIMMON_MISTRAL_URL")
    return session, url


def _absent_is_none(ask: Any) -> Any:
    try:
        return ask()
    except APIException as error:
        if error.error_code == NOT_FOUND:
            return None
        raise


@contextmanager
def _understood() -> Iterator[None]:
    """Turns what the libraries raise into this module's two errors."""
    try:
        yield
    except APIException as error:
        if error.error_code in PASSING:
            raise MistralUnreachable(f"Mistral answered HTTP {error.error_code}: {error}") from error
        raise MistralRefused(f"Mistral answered HTTP {error.error_code}: {error}") from error
    except keystone_exceptions.Unauthorized as error:
        raise MistralRefused(f"Keystone refused the login: {error}", remedy="Check the OS_* variables") from error
    except keystone_exceptions.ClientException as error:
        raise MistralUnreachable(f"Mistral, or its Keystone, does not answer: {error}") from error
