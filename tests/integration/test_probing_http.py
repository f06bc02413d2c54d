"""What the http probe makes of each answer of a Keystone, of a Kubernetes API server, and of what is neither."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from tests.support.servers import (
    DOWN,
    NOT_KEYSTONE,
    UP,
    VERSION,
    VERSIONS,
    Handler,
    Web,
    check,
    endless,
    hang_up,
    keystone,
    kubernetes,
    new_prober,
    raw,
    reset,
    serving,
)
from vimmon.actions.probing import Prober
from vimmon.actions.probing.http import BODY_MAX
from vimmon.vim import VimStatus


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with new_prober() as prober:
        yield prober


# Keystone


@pytest.mark.parametrize(
    ("status", "body", "verdict", "reason"),
    [
        (200, VERSION, UP, "HTTP 200"),
        (300, VERSIONS, UP, "HTTP 300"),
        (300, b'{"versions": [{"id": "v3.14"}]}', UP, "HTTP 300"),
        (300, b'{"versions": []}', DOWN, f"HTTP 300{NOT_KEYSTONE}"),
        (200, b'{"version": {}}', DOWN, f"HTTP 200{NOT_KEYSTONE}"),
        (401, b"", UP, "HTTP 401"),
        (403, b"", UP, "HTTP 403"),
        (200, b"<html>It works!</html>", DOWN, f"HTTP 200{NOT_KEYSTONE}"),
        (200, VERSIONS, DOWN, f"HTTP 200{NOT_KEYSTONE}"),
        (203, VERSION, DOWN, "HTTP 203"),
        (200, b"[]", DOWN, f"HTTP 200{NOT_KEYSTONE}"),
        (200, b'{"version": "1.25"}', DOWN, f"HTTP 200{NOT_KEYSTONE}"),
        (200, b"", DOWN, f"HTTP 200{NOT_KEYSTONE}"),
        (300, VERSION, DOWN, f"HTTP 300{NOT_KEYSTONE}"),
        (300, b"\xff", DOWN, f"HTTP 300{NOT_KEYSTONE}"),
        (404, b"", DOWN, "HTTP 404: the host is reachable, but there is no Keystone at this path"),
        (301, b"", DOWN, "HTTP 301, a redirect, which is not followed"),
        (302, b"", DOWN, "HTTP 302, a redirect, which is not followed"),
        (399, b"", DOWN, "HTTP 399, a redirect, which is not followed"),
        (400, b"", DOWN, "HTTP 400"),
        (402, b"", DOWN, "HTTP 402"),
        (407, b"", DOWN, "HTTP 407"),
        (429, b"", DOWN, "HTTP 429"),
        (500, b"", DOWN, "HTTP 500"),
        (503, b"", DOWN, "HTTP 503"),
    ],
)
async def test_what_keystone_answers_decides(
    prober: Prober, status: int, body: bytes, verdict: VimStatus, reason: str
) -> None:
    async with serving(Web(status, body)) as port:
        check(await prober.probe(keystone(port)), verdict, reason)


@pytest.mark.parametrize(
    ("path", "asked"),
    [("", "/"), ("/", "/"), ("/v3", "/v3"), ("/identity/v3/", "/identity/v3/"), ("/a%2Fb%7Ec", "/a%2Fb%7Ec")],
)
async def test_keystone_is_asked_at_the_auth_url_as_given(prober: Prober, path: str, asked: str) -> None:
    web = Web(200, VERSION)
    async with serving(web) as port:
        await prober.probe(keystone(port, path=path))
    [request] = web.requests
    assert request.startswith(f"GET {asked} HTTP/1.1\r\n")
    assert f"\r\nHost: 127.0.0.1:{port}\r\n" in request
    assert "\r\nAccept: application/json\r\n" in request


# Kubernetes


@pytest.mark.parametrize(
    ("status", "verdict", "reason"),
    [
        (200, UP, "HTTP 200"),
        (202, DOWN, "HTTP 202"),
        (401, UP, "HTTP 401"),
        (403, UP, "HTTP 403"),
        (429, UP, "HTTP 429"),
        (500, DOWN, "HTTP 500: not ready"),
        (503, DOWN, "HTTP 503: not ready"),
        (599, DOWN, "HTTP 599: not ready"),
        (404, DOWN, "HTTP 404: the host is reachable, but there is no Kubernetes API at this address"),
        (300, DOWN, "HTTP 300, a redirect, which is not followed"),
        (301, DOWN, "HTTP 301, a redirect, which is not followed"),
        (400, DOWN, "HTTP 400"),
        (499, DOWN, "HTTP 499"),
    ],
)
async def test_what_kubernetes_answers_decides(prober: Prober, status: int, verdict: VimStatus, reason: str) -> None:
    async with serving(Web(status, b"ok")) as port:
        check(await prober.probe(kubernetes(port)), verdict, reason)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("", "/readyz"),
        ("/", "/readyz"),
        ("/k8s/clusters/c-1/", "/k8s/clusters/c-1/readyz"),
        ("/k8s/clusters/c-1//", "/k8s/clusters/c-1/readyz"),
    ],
)
async def test_kubernetes_is_asked_whether_it_is_ready(prober: Prober, path: str, asked: str) -> None:
    web = Web(200, b"ok")
    async with serving(web) as port:
        await prober.probe(kubernetes(port, path))
    assert web.requests[0].startswith(f"GET {asked} HTTP/1.1\r\n")


# Any HTTP


async def test_a_redirect_is_not_followed_and_no_connection_or_cookie_is_kept(prober: Prober) -> None:
    web = Web(302, b"", "Location: /elsewhere", "Set-Cookie: a=b; Path=/")
    async with serving(web) as port:
        for _ in range(2):
            check(await prober.probe(keystone(port)), DOWN, "HTTP 302, a redirect, which is not followed")
    assert len(web.requests) == 2
    assert all(request.startswith("GET / ") for request in web.requests)
    assert all("\r\nConnection: close\r\n" in request for request in web.requests)
    assert not any("cookie" in request.lower() for request in web.requests)


async def test_a_proxy_in_the_environment_is_not_used(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(Web(200, VERSION)) as port:
        check(await prober.probe(keystone(port)), UP, "HTTP 200")


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (hang_up, "connection closed before an answer"),
        (reset, "connection closed before an answer"),
        (raw(b""), "connection closed before an answer"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Le"), "connection closed before an answer"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "connection closed in the middle of the answer"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "the answer is not HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"), "the answer is not HTTP"),
    ],
)
async def test_a_server_that_breaks_off_or_babbles_is_unreachable(
    prober: Prober, handler: Handler, reason: str
) -> None:
    async with serving(handler) as port:
        for _ in range(2):
            check(await prober.probe(keystone(port)), DOWN, reason)


async def test_a_server_that_hangs_up_is_asked_once(prober: Prober) -> None:
    times = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal times
        times += 1
        await reader.readuntil(b"\r\n\r\n")

    async with serving(count) as port:
        check(await prober.probe(keystone(port)), DOWN, "connection closed before an answer")
    assert times == 1


async def test_a_body_without_end_is_not_read_to_its_end(prober: Prober) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async with serving(flood) as port:
        check(await prober.probe(keystone(port)), DOWN, f"HTTP 200{NOT_KEYSTONE}")


async def test_no_more_of_a_body_is_waited_for_than_is_read(prober: Prober) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b" " * BODY_MAX)
        await reader.read()

    async with serving(stall) as port:
        check(await prober.probe(keystone(port, s=30)), DOWN, f"HTTP 200{NOT_KEYSTONE}")


async def test_an_answer_is_not_unpacked(prober: Prober) -> None:
    packed = gzip.compress(VERSION)
    async with serving(Web(200, packed, "Content-Encoding: gzip")) as port:
        check(await prober.probe(keystone(port)), DOWN, f"HTTP 200{NOT_KEYSTONE}")


async def test_a_body_that_does_not_matter_is_not_waited_for(prober: Prober) -> None:
    async with serving(endless(503)) as port:
        check(await prober.probe(keystone(port)), DOWN, "HTTP 503")
    async with serving(endless(200)) as port:
        check(await prober.probe(kubernetes(port)), UP, "HTTP 200")
