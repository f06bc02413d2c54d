"""A VIM's identity service as far as a probe can see it: answers like a Keystone, can be stopped and come back."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from vimmon.embedded.process import free_port
from vimmon.embedded.server import Started

DOCUMENT = json.dumps({"version": {"id": "v3.14", "status": "stable"}}).encode()


class _Keystone(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(DOCUMENT)))
        self.end_headers()
        self.wfile.write(DOCUMENT)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Endpoint(Started):
    """Answers at every path of one port with Keystone's version document, from threads of this process."""

    def __init__(self) -> None:
        self.port = free_port()
        self._server: ThreadingHTTPServer | None = None

    def url(self, path: str = "/v3") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def start(self) -> Self:
        server = ThreadingHTTPServer(("127.0.0.1", self.port), _Keystone)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self._server = server
        return self

    def stop(self) -> None:
        """From now on the port refuses connections, until `start`."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
