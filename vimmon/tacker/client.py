"""The only door to Tacker's API: its list of VIMs, each answer with a limit of time and of size.

Tacker gives the whole list at once, unless its `allow_pagination` and `pagination_max_limit` are set. Then it cuts it
up anew for each page: a list that changes meanwhile can lack VIMs that are there, with no sign of it. So who would act
on a missing one asks for that one alone (`is_gone`) where there was more than one page.

Whoever is no administrator is shown the VIMs of one project, with no sign of it: an answer counts only where the token
that it was asked with has the role that sees them all. That is looked at after each answer, since a token is renewed
when Tacker refuses it, and the new one may have another role.

Only the fields of FIELDS are asked for: a credential does not even leave Tacker. An answer about a single VIM has more;
it is not read. Tokens go to Tacker's own address only: of a link to the next page nothing but the marker is used, and
redirections are not followed.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from keystoneauth1 import exceptions as keystone_exceptions
from requests import Response
from requests.exceptions import RequestException

from vimmon.errors import SettingsError, TackerRefused, TackerUnreachable, TackerUnreadable
from vimmon.keystone import endpoint, open_cloud, open_session, roles
from vimmon.log import without_passwords
from vimmon.settings import Settings, environment
from vimmon.tacker.listing import EXTRA_FIELD, FIELDS

PATH = "/v1.0/vims"
SERVICE_TYPE = "nfv-orchestration"
NO_SUCH_VIM = "VimNotFoundException"  # with status 500, where others say 404
IN_USE = "VimInUseException"  # with status 500, where others say 409
REFUSED = (400, 401, 403, 404, 405)
BODY_MAX_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
PATIENCE = 2.0  # a whole answer may take so many timeouts; a timeout is from one byte to the next


@dataclass(frozen=True)
class Answered:
    """`whole`: it came in one piece, as it was at one moment."""

    entries: list[object]
    whole: bool


class TackerClient:
    """Raises TackerUnreachable and TackerUnreadable where trying again may help, TackerRefused where it will not."""

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environ: Mapping[str, str] = environment(environ)
        self._url = settings.tacker_url.rstrip("/") if settings.tacker_url else None
        cloud = settings.tacker_cloud or self._environ.get("OS_CLOUD")
        if cloud:
            self._session, self._environ = open_cloud(cloud, timeout_s=settings.tacker_timeout_s)
        else:
            self._session = open_session(self._environ, timeout_s=settings.tacker_timeout_s)
        if self._session.auth is None and self._url is None:
            raise SettingsError("it is not known where Tacker is", remedy="Set OS_*, VIMMON_TACKER_CLOUD or _URL")
        self._fields = (*FIELDS, EXTRA_FIELD) if settings.tacker_give_status else FIELDS
        self._admin_role = settings.tacker_admin_role
        self._answer_within_s = PATIENCE * settings.tacker_timeout_s
        self._clock = clock

    def vims(self, on_page: Callable[[], object] = lambda: None) -> Answered:
        """All entries of the list. `on_page` is called before each page."""
        entries: list[object] = []
        seen: set[str] = set()
        marker: str | None = None
        while True:
            on_page()
            page, following = self._page(marker)
            new = _ids(page) - seen
            entries += page
            if following is None or not page:
                return Answered(entries, whole=marker is None)
            if not new:
                raise TackerUnreadable("Tacker's list does not end: a page brought nothing new")
            seen |= new
            marker = following

    def is_gone(self, vim_id: str) -> bool:
        """Whether Tacker says that there is no such VIM."""
        with closing(self._ask("GET", f"{PATH}/{vim_id}")) as response:
            self._check_role()
            if response.status_code == 200:
                return False
            if response.status_code in (404, 500) and _error_type(self._body(response)) == NO_SUCH_VIM:
                return True
            raise _trouble(response)

    def give(self, vim_id: str, extra: Mapping[str, object]) -> bool:
        """Has Tacker merge this into the VIM's attribute `extra`; whether it did. It does not while a VNF uses the VIM,
        and where the VIM is gone."""
        with closing(self._ask("PUT", f"{PATH}/{vim_id}", json={"vim": {EXTRA_FIELD: extra}})) as response:
            if response.status_code == 200:
                return True
            if response.status_code in (404, 409, 500) and _error_type(self._body(response)) in (IN_USE, NO_SUCH_VIM):
                return False
            raise _trouble(response)

    def _page(self, marker: str | None) -> tuple[list[object], str | None]:
        params: list[tuple[str, str]] = [("fields", name) for name in self._fields]
        if marker is not None:
            params.append(("marker", marker))
        with closing(self._ask("GET", PATH, params=params)) as response:
            self._check_role()
            if response.status_code != 200:
                raise _trouble(response)
            return read_page(self._body(response))

    def _ask(self, method: str, path: str, **what: Any) -> Response:
        """An answer whose body has not been read."""
        with _understood():
            if self._url is None:
                self._url = self._from_catalogue()
            response: Response = self._session.request(
                self._url + path, method, headers={"Accept": "application/json"}, **AS_IT_COMES, **what
            )
            return response

    def _check_role(self) -> None:
        with _understood():
            found = roles(self._session)
        if found is None or self._admin_role.lower() in {role.lower() for role in found}:  # as oslo.policy compares
            return
        has = ", ".join(sorted(found)) or "none"
        raise TackerRefused(
            f"the login has not the role {self._admin_role}, only {has}: Tacker shows it one project's VIMs alone",
            remedy="Log in as an administrator, or name the role that sees all VIMs: VIMMON_TACKER_ADMIN_ROLE",
        )

    def _from_catalogue(self) -> str:
        url = endpoint(self._session, self._environ, service_type=SERVICE_TYPE)
        if url is None:
            raise TackerUnreachable(f"Keystone's catalogue has no service {SERVICE_TYPE}")
        return url.rstrip("/")

    def _body(self, response: Response) -> bytes:
        began, read = self._clock(), bytearray()
        with _understood():
            for chunk in response.iter_content(CHUNK_BYTES):
                read += chunk
                if len(read) > BODY_MAX_BYTES:
                    raise TackerUnreadable(f"Tacker's answer is longer than {BODY_MAX_BYTES} bytes")
                if self._clock() - began > self._answer_within_s:
                    raise TackerUnreachable(f"Tacker's answer took longer than {self._answer_within_s:g} s")
        return bytes(read)


# Errors are judged here, nothing is logged on the way, and the body waits until it is asked for.
AS_IT_COMES: dict[str, Any] = {"raise_exc": False, "redirect": False, "log": False, "stream": True}


def read_page(body: bytes) -> tuple[list[object], str | None]:
    """The entries of a page, and where the next one begins; None after the last. Raises TackerUnreadable."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise TackerUnreadable("Tacker's answer is not JSON, or not all of it has come") from None
    page = answer.get("vims") if isinstance(answer, dict) else None
    if not isinstance(page, list):
        raise TackerUnreadable("Tacker answered with something other than a list of VIMs")
    return page, _marker(answer.get("vims_links"))


def _ids(page: list[object]) -> set[str]:
    ids = (entry.get("id") for entry in page if isinstance(entry, dict))
    return {vim_id for vim_id in ids if isinstance(vim_id, str)}


def _marker(links: object) -> str | None:
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "next" and isinstance(link.get("href"), str):
            try:
                markers = parse_qs(urlsplit(link["href"]).query).get("marker")
            except ValueError:
                markers = None
            if not markers:
                raise TackerUnreadable("Tacker's list has a next page that cannot be found: its link has no marker")
            return markers[0]
    return None


def _error_type(body: bytes) -> object:
    try:
        error = orjson.loads(body).get("TackerError")
    except (orjson.JSONDecodeError, AttributeError):
        return None
    return error.get("type") if isinstance(error, dict) else None


def _trouble(response: Response) -> TackerRefused | TackerUnreachable | TackerUnreadable:
    said = f"Tacker answered HTTP {response.status_code}"
    if response.status_code in REFUSED:
        return TackerRefused(said)
    return TackerUnreadable(said) if response.status_code < 400 else TackerUnreachable(said)


@contextmanager
def _understood() -> Iterator[None]:
    """Turns what the libraries raise into this module's errors."""
    try:
        yield
    except keystone_exceptions.Unauthorized as error:
        raise TackerRefused(f"Keystone refused the login: {without_passwords(str(error))}") from error
    except (keystone_exceptions.ClientException, RequestException) as error:
        said = without_passwords(str(error))  # it may name OS_AUTH_URL as it stands there
        raise TackerUnreachable(f"Tacker, or its Keystone, does not answer: {said}") from error
