"""Small servers on this host that answer as a test wants, and probes of them."""

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from vimmon.actions.probing import Prober
from vimmon.actions.probing.resolver import Resolver
from vimmon.probes import HttpPreset, HttpProbe, Outcome, TcpProbe
from vimmon.vim import VimStatus

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

UP, DOWN, UNKNOWN = VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN
VERSIONS = b'{"versions": {"values": [{"id": "v3.14", "status": "stable"}]}}'
VERSION = b'{"version": {"id": "v3.14", "status": "stable"}}'
NOT_KEYSTONE = ", but not a Keystone version document: the host is reachable, the address is wrong"
NAMES = {
    "vim.test": ["127.0.0.1"],
    "vim.test.": ["127.0.0.1"],
    "other.test": ["127.0.0.1"],
    "first-dead.test": ["192.0.2.1", "127.0.0.1"],
    "all-dead.test": ["192.0.2.1", "192.0.2.2"],
}


def getaddrinfo(host: bytes, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
    if host.decode() not in NAMES:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [(socket.AF_INET, type, 6, "", (ip, 0)) for ip in NAMES[host.decode()]]


def new_prober(
    *, concurrency: int | None = None, handshakes: int = 100, clock: Callable[[], float] = time.monotonic
) -> Prober:
    """One that knows the names in NAMES and no others."""
    resolver = Resolver(getaddrinfo=getaddrinfo)
    return Prober(concurrency=concurrency, handshakes=handshakes, resolver=resolver, clock=clock)


def endless(status: int) -> Handler:
    """One that begins an answer, and never gives its body."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 1000\r\n\r\n" % status)
        await reader.read()

    return answer


@contextlib.asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server, which is gone afterwards with all its connections."""
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections[task] = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await _nothing_accepted()
        server.close()
        await _end(connections)


async def _nothing_accepted() -> None:
    """Returns when what was accepted is being handled: the loop would leave it open, once its server is closed."""
    while accepting := [task for task in asyncio.all_tasks() if "_accept_connection" in str(task.get_coro())]:
        await asyncio.wait(accepting)


async def _end(connections: dict["asyncio.Task[None]", asyncio.StreamWriter]) -> None:
    for task, writer in connections.items():
        task.cancel()
        writer.transport.abort()
    await asyncio.gather(*connections, return_exceptions=True)
    await asyncio.sleep(0)  # in which the sockets are closed


class Web:
    """Answers every request alike, and remembers them."""

    def __init__(self, status: int, body: bytes = b"", *headers: str) -> None:
        self.status, self.body, self.headers = status, body, headers
        self.requests: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        lines = [f"HTTP/1.1 {self.status} X", f"Content-Length: {len(self.body)}", *self.headers]
        writer.write("\r\n".join([*lines, "", ""]).encode() + self.body)
        await writer.drain()


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def raw(answer: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return handle


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def keystone(port: int, *, host: str = "127.0.0.1", scheme: str = "http", path: str = "", s: float = 5) -> HttpProbe:
    return HttpProbe(auth_url=f"{scheme}://{host}:{port}{path}", preset=HttpPreset.KEYSTONE, timeout_s=s)


def kubernetes(port: int, path: str = "") -> HttpProbe:
    return HttpProbe(auth_url=f"http://127.0.0.1:{port}{path}", preset=HttpPreset.KUBERNETES)


def tcp(port: int, *, host: str = "127.0.0.1", s: float = 2) -> TcpProbe:
    return TcpProbe(auth_url=f"http://{host}:{port}", timeout_s=s)


def check(outcome: Outcome, status: VimStatus, reason: str) -> None:
    """An answer's reason ends with the time it took."""
    said = outcome.reason.rpartition(" in ")[0] if status == UP else outcome.reason
    assert (outcome.status, said) == (status, reason)
    assert (outcome.rtt_ms is not None) is (status == UP)
