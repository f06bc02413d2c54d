"""What a conductor serves over HTTP: pages that are read, and nothing that changes anything."""

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from vimmon.errors import VimmonError
from vimmon.log import event

log = logging.getLogger(__name__)

AT_ONCE = 16
CLIENT_TIMEOUT_S = 10  # a client that says nothing for so long is left
POLL_S = 0.2
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Page:
    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = TEXT


Pages = Mapping[str, Callable[[], Page]]


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

    @property
    def address(self) -> str:
        """As it stands in a URL."""
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def serve(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            self.handle_request()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
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
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """A line for each reading is no news."""

    def _page(self) -> Page:
        path = self.path.partition("?")[0]
        make = self.server.pages.get(path)
        if make is None:
            known = "\n".join(self.server.pages)
            return Page(f"there is no such page; there are:\n{known}\n".encode(), HTTPStatus.NOT_FOUND)
        try:
            return make()
        except Exception:
            log.exception(event("page_failed", path=path))
            return Page(b"the conductor's log says why\n", HTTPStatus.INTERNAL_SERVER_ERROR)
