"""The http probe: asks a Keystone for its versions, or a Kubernetes API server whether it is ready, without logging in.

Each probe makes a connection of its own, follows no redirect, sends no cookie, uses no proxy, and reads at most
`BODY_MAX` of an answer.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping

import aiohttp
import orjson
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace
from yarl import URL

from vimmon.actions.probing.reasons import Trouble, of_exchange, of_tls, reachable, unreachable
from vimmon.actions.probing.wire import Wire
from vimmon.probes import HttpPreset, HttpProbe, Outcome
from vimmon.vim import Target

BODY_MAX = 64 * 1024
TLS_SHUTDOWN_S = 1.0  # how long a peer may take to say goodbye, in the background
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "vimmon"}
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)  # the prober's own lies around all of it

KEYSTONE_DOCUMENTS = {200: "version", 300: "versions"}
KEYSTONE_ANSWERS = frozenset({401, 403})
KUBERNETES_ANSWERS = frozenset({200, 401, 403, 429})

Judge = Callable[[int, bytes], str | None]


async def probe(probe: HttpProbe, wire: Wire) -> Outcome:
    """REACHABLE when the API itself answers; another server at its address is not the API."""
    path, judge = PRESETS[probe.preset]
    tls = wire.tls.context() if wire.target.scheme == "https" else None
    connector = _OneConnection(wire, tls)
    started = wire.clock()
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=NO_TIMEOUT, auto_decompress=False
    ) as session:
        try:
            async with session.get(_url(wire.target, path), headers=HEADERS, allow_redirects=False) as answer:
                status = answer.status
                body = await _read(answer.content) if status in KEYSTONE_DOCUMENTS else b""
        except aiohttp.ClientConnectionError as error:
            return of_exchange(error)
        except aiohttp.ClientPayloadError:
            return unreachable("connection closed in the middle of the answer")
        except aiohttp.ClientResponseError:
            return unreachable("the answer is not HTTP")
    problem = judge(status, body)
    if problem is None:
        return reachable(f"HTTP {status}", wire.clock() - started)
    return unreachable(f"HTTP {status}{problem}")


def judge_keystone(status: int, body: bytes) -> str | None:
    """None: a Keystone answered. Else what to say after the status."""
    if status in KEYSTONE_ANSWERS:
        return None
    if status in KEYSTONE_DOCUMENTS:
        if _has_document(KEYSTONE_DOCUMENTS[status], body):
            return None
        return ", but not a Keystone version document: the host is reachable, the address is wrong"
    if status == 404:
        return ": the host is reachable, but there is no Keystone at this path"
    return _plainly(status)


def judge_kubernetes(status: int, _: bytes) -> str | None:
    """None: a Kubernetes API server answered, and did not call itself unready. Else what to say after the status."""
    if status in KUBERNETES_ANSWERS:
        return None
    if status >= 500:
        return ": not ready"
    if status == 404:
        return ": the host is reachable, but there is no Kubernetes API at this address"
    return _plainly(status)


def _plainly(status: int) -> str:
    return ", a redirect, which is not followed" if 300 <= status < 400 else ""


def _has_document(name: str, body: bytes) -> bool:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and isinstance(document.get(name), dict | list) and bool(document[name])


PRESETS: Mapping[HttpPreset, tuple[Callable[[str], str], Judge]] = {
    HttpPreset.KEYSTONE: (lambda path: path or "/", judge_keystone),
    HttpPreset.KUBERNETES: (lambda path: path.rstrip("/") + "/readyz", judge_kubernetes),
}


def _url(target: Target, path: Callable[[str], str]) -> URL:
    host = target.host.partition("%")[0]  # a zone means something on this host only
    if ":" in host:
        host = f"[{host}]"
    return URL(f"{target.scheme}://{host}:{target.port}{path(target.path)}", encoded=True)


async def _read(content: aiohttp.StreamReader) -> bytes:
    """The body. Of one that is longer than BODY_MAX, its beginning: no version document is that long."""
    body = b""
    while len(body) <= BODY_MAX and (chunk := await content.read(BODY_MAX)):
        body += chunk
    return body


class _OneConnection(aiohttp.BaseConnector):
    """Connects along a probe's wire, once. `_create_connection` is what aiohttp's own connectors define as well."""

    def __init__(self, wire: Wire, tls: ssl.SSLContext | None) -> None:
        super().__init__(force_close=True, limit=0)
        self._wire = wire
        self._tls = tls
        self._connected = False

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own signature
    ) -> ResponseHandler:
        if self._connected:  # aiohttp asks again after a connection that broke
            raise aiohttp.ServerDisconnectedError
        connection = await self._wire.connect()
        self._connected = True
        loop = asyncio.get_running_loop()
        if self._tls is None:
            _, protocol = await loop.create_connection(self._factory, sock=connection)
            return protocol
        try:
            _, protocol = await loop.create_connection(
                self._factory,
                sock=connection,
                ssl=self._tls,
                server_hostname=self._wire.target.host.partition("%")[0].rstrip("."),
                ssl_shutdown_timeout=TLS_SHUTDOWN_S,
            )
        except OSError as error:
            raise Trouble(of_tls(error)) from None
        return protocol
