"""The http probe: asks a server once, without logging in, and has a preset judge what it answers.

Each probe makes a connection of its own, follows no redirect, sends no cookie, uses no proxy but the one in its
settings, and reads at most `BODY_MAX` of an answer.
"""

import asyncio
from dataclasses import replace
from functools import partial

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace
from yarl import URL

from vimmon.actions.probing.connection import Connection
from vimmon.actions.probing.presets import PRESETS
from vimmon.actions.probing.proxy import blamed_for_trouble
from vimmon.actions.probing.reasons import Trouble, cannot_probe, no_answer, of_exchange, reachable, unreachable
from vimmon.actions.probing.wire import Wire
from vimmon.probe_checks import target_of
from vimmon.probes import HttpPreset, HttpProbe, Outcome
from vimmon.vim import Target

BODY_MAX = 64 * 1024
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)  # the probe's own lies around all of it
ACCEPT = {HttpPreset.KEYSTONE: "application/json", HttpPreset.KUBERNETES: "application/json", HttpPreset.PLAIN: "*/*"}
HEADERS = {
    preset: {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "vimmon"}
    for preset, accept in ACCEPT.items()
}


async def probe(probe: HttpProbe, wire: Wire) -> Outcome:
    """REACHABLE when the one who answers is the one to be reached; another server at its address is not."""
    target = target_of(probe.auth_url)
    tls = None
    if target.scheme == "https":
        with wire.paused():  # to read files is this host's affair
            tls = await wire.shared.contexts.of(probe)
    with blamed_for_trouble(probe):
        addresses = await wire.resolve()
    connection = Connection(probe, wire, addresses, tls)
    try:
        async with wire.within():
            outcome = await _ask(probe, wire, target, connection)
    except Trouble as trouble:
        outcome = trouble.outcome
    except TimeoutError:
        outcome = connection.trouble or no_answer(probe.timeout_s)
        if probe.proxy is not None and not connection.connected:
            outcome = cannot_probe(f"no answer from the proxy within {probe.timeout_s:g} s")
    if connection.certificate_expires_at is None:
        return outcome
    return replace(outcome, certificate_expires_at=connection.certificate_expires_at)


async def _ask(probe: HttpProbe, wire: Wire, target: Target, connection: Connection) -> Outcome:
    preset = PRESETS[probe.preset]
    clock = wire.shared.clock
    started, paused_s = clock(), wire.paused_s
    async with aiohttp.ClientSession(
        connector=_OneConnection(connection),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=NO_TIMEOUT,
        auto_decompress=False,
    ) as session:
        try:
            async with session.get(
                _url(target, preset.path(target.path)),
                headers=HEADERS[probe.preset],
                allow_redirects=False,
            ) as answer:
                status = answer.status
                body = await _read(answer.content) if preset.reads_body(probe, status) else b""
        except aiohttp.ClientConnectionError as error:
            return of_exchange(connection.lost or error)
        except aiohttp.ClientPayloadError:
            return unreachable("connection closed in the middle of the answer")
        except aiohttp.ClientResponseError:
            return unreachable("the answer is not HTTP")
    wire.ended("answer")
    problem = preset.judge(probe, status, body)
    if problem is None:
        return reachable(f"HTTP {status}", clock() - started - (wire.paused_s - paused_s))
    return unreachable(f"HTTP {status}{problem}")


def _url(target: Target, path: str) -> URL:
    host = target.host.partition("%")[0]  # a zone means something on this host only
    if ":" in host:
        host = f"[{host}]"
    return URL(f"{target.scheme}://{host}:{target.port}{path}", encoded=True)


async def _read(content: aiohttp.StreamReader) -> bytes:
    """The body. Of one that is longer than BODY_MAX, its beginning: nothing that is looked for is that long."""
    body = b""
    while chunk := await content.read(BODY_MAX - len(body)):
        body += chunk
    return body


class _OneConnection(aiohttp.BaseConnector):
    """Connects once, as a probe does. `_create_connection` is what aiohttp's own connectors define as well."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(force_close=True)
        self._connection = connection

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own signature
    ) -> ResponseHandler:
        if self._connection.connected:  # aiohttp asks again after a connection that broke
            raise aiohttp.ServerDisconnectedError
        return await self._connection.open(partial(_Exchange, self._connection, req.loop))


class _Exchange(ResponseHandler):
    """One that notes why its connection was lost: of what TLS said, aiohttp tells nothing."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._of = connection

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(exc, Exception):
            self._of.lost = exc
        super().connection_lost(exc)
