"""Stands between vimmon and Mistral's API, and holds a call up: before it is carried out, or before it is answered."""

import contextlib
import http.client
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self

LONGEST_HOLD_S = 120.0
TIMEOUT_S = 30.0


@dataclass
class Hold:
    """The first call of its kind, held up. `reached` is set when it is there."""

    method: str
    path: str
    when: Literal["before", "after"]
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    _first: threading.Lock = field(default_factory=threading.Lock)

    def at(self, when: str, method: str, path: str) -> None:
        """Returns when the call may go on."""
        if (self.when, self.method) == (when, method) and path.startswith(self.path) and self._is_first():
            self.reached.set()
            self.released.wait(LONGEST_HOLD_S)

    def _is_first(self) -> bool:
        return self._first.acquire(blocking=False)


class Gate:
    """Passes calls on to the API on `port` of this machine."""

    def __init__(self, port: int) -> None:
        self._holds: list[Hold] = []
        holds = self._holds

        class Handler(_Handler):
            api_port = port

            def held(self, when: str) -> None:
                for hold in list(holds):
                    hold.at(when, self.command, self.path)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v2"

    @contextlib.contextmanager
    def hold(self, method: str, path: str, when: Literal["before", "after"]) -> Iterator[Hold]:
        """Holds the first such call up while the context lasts."""
        hold = Hold(method, path, when)
        self._holds.append(hold)
        try:
            yield hold
        finally:
            self._holds.remove(hold)
            hold.released.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    api_port: int

    def held(self, when: str) -> None:
        raise NotImplementedError

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.held("before")
        if self._asker_is_gone():
            return
        api = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=TIMEOUT_S)
        with contextlib.closing(api), contextlib.suppress(ConnectionError):  # whoever asked may be dead by now
            api.request(self.command, self.path, body=body, headers=dict(self.headers))
            answer = api.getresponse()
            content = answer.read()
            self.held("after")
            self.send_response(answer.status)
            for name in ("Content-Type", "Location"):
                if value := answer.headers.get(name):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _asker_is_gone(self) -> bool:
        poll = select.poll()  # not select(), which knows no file descriptor above 1023
        poll.register(self.connection, select.POLLIN)
        return bool(poll.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_DELETE(self) -> None:
        self._pass_on()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""
