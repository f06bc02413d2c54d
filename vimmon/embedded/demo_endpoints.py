"""Two very small clouds for the demonstration: one answers like Keystone, one like a Kubernetes API; on 127.0.0.1."""

import json
import threading
from abc import abstractmethod
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Self

from vimmon.embedded.process import free_port
from vimmon.embedded.server import Started


class Endpoint(Started):
    """A small HTTP server that can be stopped, and started again on the same port."""

    path = ""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def auth_url(self) -> str:
        return self.root + self.path

    @abstractmethod
    def answer(self, path: str) -> tuple[HTTPStatus, str, str]:
        """Status, media type and body for a path."""

    def start(self) -> Self:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, media_type, body = endpoint.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass  # it would write over the table

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Nobody listens afterwards. May be called twice."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None


class KeystoneEndpoint(Endpoint):
    path = "/v3"

    def answer(self, path: str) -> tuple[HTTPStatus, str, str]:
        version = {
            "id": "v3.14",
            "status": "stable",
            "updated": "2020-04-07T00:00:00Z",
            "links": [{"rel": "self", "href": f"{self.root}/v3/"}],
            "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
        }
        if path.rstrip("/") == "/v3":
            return HTTPStatus.OK, "application/json", json.dumps({"version": version})
        if path == "/":
            return HTTPStatus.MULTIPLE_CHOICES, "application/json", json.dumps({"versions": {"values": [version]}})
        return HTTPStatus.NOT_FOUND, "text/html", "<h1>Not Found</h1>"


class KubernetesEndpoint(Endpoint):
    open_paths: ClassVar = {"/readyz": "ok", "/livez": "ok"}

    def answer(self, path: str) -> tuple[HTTPStatus, str, str]:
        if path in self.open_paths:
            return HTTPStatus.OK, "text/plain; charset=utf-8", self.open_paths[path]
        refusal = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Unauthorized", "code": 401}
        return HTTPStatus.UNAUTHORIZED, "application/json", json.dumps(refusal)
