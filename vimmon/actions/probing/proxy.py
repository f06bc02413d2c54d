"""A proxy between this host and the VIM. What goes wrong on the way to it is the prober's own trouble."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterator

from vimmon.actions.probing.reasons import CLOSED, Trouble, cannot_probe, of_connecting, unreachable
from vimmon.probes import HttpProbe
from vimmon.vim import Target, VimStatus

HEAD_MAX = 16 * 1024
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})")
GATEWAY_TROUBLE = frozenset({502, 503, 504})


@contextlib.contextmanager
def blamed_for_trouble(probe: HttpProbe) -> Iterator[None]:
    """Raises Trouble `cannot probe: …` where what is done inside fails, and a proxy is what it was done to."""
    try:
        yield
    except Trouble as trouble:
        if probe.proxy is None or trouble.outcome.status == VimStatus.UNKNOWN:
            raise
        raise Trouble(cannot_probe(f"proxy: {trouble.outcome.reason}")) from None


async def tunnel(connection: socket.socket, target: Target) -> None:
    """Has the proxy at the other end connect to the target. Raises Trouble.

    For http as well: an answer that may be the proxy's own says nothing about the VIM.
    """
    host = target.host.partition("%")[0]
    authority = f"[{host}]:{target.port}" if ":" in host else f"{host}:{target.port}"
    request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: vimmon\r\n\r\n"
    try:
        answered = STATUS_LINE.match(await _exchange(connection, request.encode()))
    except OSError as error:
        raise Trouble(cannot_probe(f"proxy: {of_connecting([error]).reason.removeprefix('cannot probe: ')}")) from None
    if answered is None:
        raise Trouble(cannot_probe("proxy: the answer is not HTTP"))
    status = int(answered[1])
    if status in GATEWAY_TROUBLE:
        raise Trouble(unreachable(f"the proxy cannot connect to it: HTTP {status}"))
    if not 200 <= status < 300:
        raise Trouble(cannot_probe(f"proxy: it refuses to connect: HTTP {status}"))


async def _exchange(connection: socket.socket, request: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, request)
    head = b""
    while b"\r\n\r\n" not in head and len(head) < HEAD_MAX:
        chunk = await loop.sock_recv(connection, 4096)
        if not chunk:
            raise Trouble(cannot_probe(f"proxy: {CLOSED}"))
        head += chunk
    return head
