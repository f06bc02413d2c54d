"""Servers with TLS, files that hang, and what else tests of https probes stand on."""

import contextlib
import fcntl
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.authority import Authority
from vimmon.actions.probing import tls, wire
from vimmon.probes import HttpProbe

Answering = contextlib.AbstractContextManager[int]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """One that this host trusts, and no other."""
    authority = Authority(tmp_path, "trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    return authority


class Clock:
    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s

    def pass_a_look(self) -> None:
        """Until files are looked at again."""
        self.ahead_s += tls.LOOK_AFTER_S


def secure(port: int, host: str = "127.0.0.1", **settings: Any) -> HttpProbe:
    chosen = {"auth_url": f"https://{host}:{port}", "preset": "keystone", **settings}
    for name in chosen.keys() & {"ca_file", "client_cert_file", "client_key_file"}:
        chosen[name] = str(chosen[name])
    return HttpProbe.model_validate(chosen)


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that answers one connection after the other."""

    def serve() -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                answer(server.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def shaking_hands(context: ssl.SSLContext, *, patience_s: float | None = None, answer: bytes = b"") -> Answering:
    """The port of a server that makes TLS handshakes, or tries to, one after the other, and says no more than that."""

    def shake_hands(connection: socket.socket) -> None:
        connection.settimeout(patience_s)
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(4096)
            secured.sendall(answer)

    return answering(shake_hands)


def refusing_clients(context: ssl.SSLContext) -> Answering:
    """The port of a server that says why it refuses, and then lets the client close: else a reset may swallow that."""

    def refuse(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secured:
            with contextlib.suppress(ssl.SSLError):
                secured.do_handshake()
            while socket.socket.recv(secured, 4096):
                pass

    return answering(refuse)


@contextlib.contextmanager
def hanging(file: Path) -> Iterator[None]:
    """Whoever opens the file inside is kept waiting, as by a network file system whose server is gone."""
    with file.open("rb+") as held:
        fcntl.fcntl(held, fcntl.F_SETSIG, signal.SIGURG)  # what tells of it is ignored
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        try:
            yield
        finally:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)


@contextlib.contextmanager
def noting_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """Those that probes make inside. They are kept, so that nobody closes them by forgetting them."""
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(wire, "socket", SimpleNamespace(socket=Noted, SOCK_STREAM=socket.SOCK_STREAM))
        yield made
