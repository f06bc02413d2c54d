"""What a conductor serves over HTTP: pages that are read, and nothing that changes anything."""

import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from vimmon.errors import VimmonError
from vimmon.log import event

log = logging.getLogger(__name__)

AT_ONCE = 64  # a browser holds several connections, some of which it never uses
CLIENT_TIMEOUT_S = 10  # a client that says nothing for so long is left
CLIENT_MAX_S = 30  # and one that says little, after so long
POLL_S = 0.2
TEXT = "text/plain; charset=utf-8"
GZIP_ACCEPTED = re.compile(r"(?:^|[ ,])(?:gzip|\*)(?! *; *q=0(?:\.0*)?(?:[ ,]|$))", re.IGNORECASE)
SECURITY = {
    # Nothing from elsewhere, nothing that stands in the page itself: what a VIM answered is never run.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True)
class Page:
    """`etag`: the same for what says the same; who has it is told only that. Without it nobody may keep the page."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = TEXT
    etag: str | None = None
    gzipped: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


Pages = Mapping[str, Callable[[str], Page]]
"""What makes each page, by its path, from what stands behind the ? of the address."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, made before any process that uses it. Raises VimmonError with what to do about it."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as trouble:
        raise VimmonError(
            f"--http {host}:{port}: {trouble.strerror or trouble}",
            remedy="Name an address of this host and a port that is free, or --http off",
        ) from None


class PageServer(ThreadingHTTPServer):
    """Serves `pages` by their path. No more than AT_ONCE clients; others are sent away."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, pages: Pages) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.timeout = POLL_S
        self.pages = pages
        self._slots = threading.Semaphore(AT_ONCE)
        self._open: dict[socket.socket, float] = {}  # until when each client has time

    @property
    def address(self) -> str:
        """As it stands in a URL."""
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def serve(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            self.handle_request()
            now = time.monotonic()
            for client, until in list(self._open.items()):
                if now > until:
                    with suppress(OSError):  # its thread has just closed it
                        client.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self._open[request] = time.monotonic() + CLIENT_MAX_S
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.pop(request, None)
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "vimmon", ""

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(CLIENT_TIMEOUT_S)

    def do_GET(self) -> None:  # as its base class calls it
        page = self._page()
        if page.etag is not None and self._has(page.etag):
            self._head(HTTPStatus.NOT_MODIFIED, page)
            self.end_headers()
            return
        packed = page.gzipped is not None and GZIP_ACCEPTED.search(self.headers.get("Accept-Encoding", ""))
        body = page.gzipped if packed and page.gzipped is not None else page.body
        self._head(page.status, page)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(body)))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What cannot be read, or wants to change something, is told so in one line."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        body = f"{status.phrase}\n".encode()
        page = Page(body, status, headers={"Allow": "GET, HEAD"} if status is HTTPStatus.METHOD_NOT_ALLOWED else {})
        self._head(status, page)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, page: Page) -> None:
        self.send_response(status)
        headers = {**SECURITY, **page.headers, "Cache-Control": "no-store" if page.etag is None else "no-cache"}
        if page.etag is not None:
            headers["ETag"] = f'W/"{page.etag}"'
        if page.gzipped is not None:
            headers["Vary"] = "Accept-Encoding"
        for name, value in headers.items():
            self.send_header(name, value)

    def _has(self, etag: str) -> bool:
        """Whether the client has this page already."""
        known = [one.strip().removeprefix("W/") for one in self.headers.get("If-None-Match", "").split(",")]
        return f'"{etag}"' in known or "*" in known

    def log_message(self, format: str, *args: Any) -> None:
        """A line for each reading is no news."""

    def _page(self) -> Page:
        path, _, query = self.path.partition("?")
        make = self.server.pages.get(path)
        if make is None:
            known = "\n".join(self.server.pages)
            return Page(f"there is no such page; there are:\n{known}\n".encode(), HTTPStatus.NOT_FOUND)
        try:
            return make(query)
        except Exception:
            log.exception(event("page_failed", path=path))
            return Page(b"the conductor's log says why\n", HTTPStatus.INTERNAL_SERVER_ERROR)
