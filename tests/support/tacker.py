"""An HTTP server that lists VIMs as Tacker 16 does, page by page where it is told to; and answers wrongly as told.

The pages are cut as Tacker cuts them (`PaginationEmulatedHelper`): the whole list is read anew for each, in the order
of the database; where the marker is not in it, the page is empty and there is no link to a next one.
"""

import json
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

SECRET = "s3cr3t-of-the-vim"  # what must never be found anywhere
TOKEN = "token-of-the-test"


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """`length`: what the header says, where that is not so; `hang`: say nothing more until the server stops."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    hang: bool = False


def answer(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def not_found(vim_id: str) -> Answer:
    said = f"Specified VIM id {vim_id} is invalid. Please verify and pass a valid VIM id"
    return answer({"TackerError": {"type": "VimNotFoundException", "message": said, "detail": ""}}, 500)


class TackerServer:
    """`vims`: what it lists, in this order; `page`: its pagination_max_limit; `wrong`: asked first for each request,
    None: as it should be; `asked`: all requests so far; `hidden`: VIMs that it has and does not list; `roles`: of the
    next token."""

    def __init__(self) -> None:
        self.vims: dict[str, dict[str, Any]] = {}
        self.page: int | None = None
        self.roles = ["reader", "member", "Admin"]
        self.hidden: set[str] = set()
        self.wrong: Callable[[Asked], Answer | None] = lambda _: None
        self.asked: list[Asked] = []
        self.stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, name: str, auth_url: str = "http://127.0.0.1:5000/v3", **fields: Any) -> str:
        """A VIM; returns its id."""
        vim_id = str(fields.pop("id", None) or uuid.uuid4())
        self.vims[vim_id] = {
            "id": vim_id,
            "name": name,
            "type": "openstack",
            "auth_url": auth_url,
            "tenant_id": "0123456789abcdef0123456789abcdef",
            "auth_cred": {"username": "nfv", "password": SECRET},
            "extra": {},
            "status": "ACTIVE",
            **fields,
        }
        return vim_id

    def reply(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        wrong = self.wrong(asked)
        if wrong is not None:
            return wrong
        if asked.path == "/v3/auth/tokens":
            return self._token()
        if asked.path == "/v1.0/vims" and asked.method == "GET":
            return answer(self.listing(asked.query))
        vim_id = asked.path.removeprefix("/v1.0/vims/")
        if vim_id not in self.vims:
            return not_found(vim_id)
        if asked.method == "PUT":
            _merge(self.vims[vim_id], json.loads(asked.body)["vim"])
        return answer({"vim": self.vims[vim_id]})

    def listing(self, query: Mapping[str, list[str]]) -> dict[str, object]:
        vims = [vim for vim in self.vims.values() if vim["id"] not in self.hidden]
        limit = self.page
        marker = query.get("marker", [None])[0]
        if limit is not None:
            ids = [vim["id"] for vim in vims]
            after = ids.index(marker) if marker in ids else len(ids) - 1 if marker else -1
            vims = vims[after + 1 : after + 1 + limit]
        found: dict[str, object] = {"vims": [_only(vim, query.get("fields")) for vim in vims]}
        if limit is not None and len(vims) == limit:
            following = urlencode({"marker": vims[-1]["id"], "limit": limit})
            found["vims_links"] = [{"rel": "next", "href": f"http://inside.example.org:9890/v1.0/vims?{following}"}]
        return found

    def _token(self) -> Answer:
        catalogue = [{"type": "nfv-orchestration", "name": "tacker", "id": "1", "endpoints": [self._endpoint()]}]
        token: dict[str, object] = {
            "methods": ["password"],
            "expires_at": "2999-01-01T00:00:00.000000Z",
            "catalog": catalogue,
        }
        token |= {"issued_at": "2026-01-01T00:00:00.000000Z"}
        token["roles"] = [{"id": role, "name": role} for role in self.roles]
        token["user"] = {"id": "1", "name": "admin", "domain": {"id": "default", "name": "Default"}}
        return Answer(201, json.dumps({"token": token}).encode(), {"X-Subject-Token": TOKEN})

    def _endpoint(self) -> dict[str, str]:
        return {"interface": "public", "region": "one", "region_id": "one", "url": f"{self.url}/", "id": "1"}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


def _only(vim: dict[str, Any], fields: list[str] | None) -> dict[str, Any]:
    return {name: value for name, value in vim.items() if name in fields} if fields else vim


def _merge(old: dict[str, Any], new: dict[str, Any]) -> None:
    """As Tacker's deep_update does."""
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            _merge(old[name], value)
        else:
            old[name] = value


def _handler(tacker: TackerServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = tacker.reply(Asked(self.command, url.path, parse_qs(url.query), dict(self.headers), body))
            self.send_response(reply.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
            self.wfile.flush()
            if reply.hang:
                tacker.stopped.wait()
            if reply.hang or reply.length is not None:
                self.close_connection = True

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler
