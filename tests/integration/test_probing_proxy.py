"""Probes through a proxy: what it is asked for, and whose trouble it is when something goes wrong."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.servers import (
    DOWN,
    UNKNOWN,
    UP,
    VERSIONS,
    Handler,
    Web,
    check,
    hang_up,
    new_prober,
    raw,
    reset,
    serving,
    silence,
)
from vimmon.actions.probing import Prober
from vimmon.probes import HttpProbe


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with new_prober() as prober:
        yield prober


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "trusted")


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as unheard:  # bound, so that nobody else gets it; not listening
        unheard.bind(("127.0.0.1", 0))
        yield unheard.getsockname()[1]


class Tunnel:
    """A proxy that connects to a port of this host, whatever host it is asked for."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        port = int(self.requests[-1].split()[1].rpartition(":")[2])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


def by(proxy: int | str, url: str, *, s: float = 2, ca: Path | None = None) -> HttpProbe:
    proxy = f"http://127.0.0.1:{proxy}" if isinstance(proxy, int) else proxy
    given = {"auth_url": url, "preset": "keystone", "timeout_s": s, "proxy": proxy, "ca_file": ca and str(ca)}
    return HttpProbe.model_validate(given)


@pytest.mark.parametrize("host", ["vim.test", "127.0.0.1"])
async def test_https_goes_through_a_tunnel_and_the_vims_certificate_is_verified(
    prober: Prober, authority: Authority, host: str
) -> None:
    tunnel = Tunnel()
    async with serving(tunnel) as proxy, serving(Web(300, VERSIONS), tls=authority.server()) as port:
        outcome = await prober.probe(by(proxy, f"https://{host}:{port}", ca=authority.file))
        check(outcome, UP, "HTTP 300")
        wrong = await prober.probe(by(proxy, f"https://elsewhere.test:{port}", ca=authority.file))
        check(wrong, DOWN, "certificate is for another name")  # nosuch: only the proxy has to know the name
    assert tunnel.requests[0].startswith(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n")


async def test_http_goes_through_a_tunnel_as_well(prober: Prober) -> None:
    tunnel, web = Tunnel(), Web(300, VERSIONS)
    async with serving(tunnel) as proxy, serving(web) as port:
        check(await prober.probe(by(proxy, f"http://elsewhere.test:{port}/v3")), UP, "HTTP 300")
    assert tunnel.requests[0].startswith(f"CONNECT elsewhere.test:{port} HTTP/1.1\r\n")
    [request] = web.requests
    assert request.startswith("GET /v3 HTTP/1.1\r\n")
    assert f"\r\nHost: elsewhere.test:{port}\r\n" in request


@pytest.mark.parametrize("host", ["[2001:db8::1]", "[fe80::1%25eth0]"])
async def test_a_proxy_is_asked_for_an_ipv6_address_in_brackets_and_without_this_hosts_zone(
    prober: Prober, host: str
) -> None:
    tunnel, web = Tunnel(), Web(300, VERSIONS)
    async with serving(tunnel) as proxy, serving(web) as port:
        check(await prober.probe(by(proxy, f"http://{host}:{port}")), UP, "HTTP 300")
    authority = f"{host.partition('%')[0].rstrip(']')}]:{port}"
    assert tunnel.requests[0].startswith(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n")
    assert f"\r\nHost: {authority}\r\n" in web.requests[0]


async def test_this_hosts_own_trouble_is_not_told_as_the_proxys(prober: Prober) -> None:
    probe = by(9, "http://vim.test").model_copy(update={"source_address": "203.0.113.9"})
    reason = "cannot probe: this host does not have the source address 203.0.113.9"
    check(await prober.probe(probe), UNKNOWN, reason)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there_says_nothing_about_the_vim(
    prober: Prober, authority: Authority, scheme: str, closed_port: int
) -> None:
    url = f"{scheme}://vim.test:5000"
    check(await prober.probe(by(closed_port, url)), UNKNOWN, "cannot probe: proxy: connection refused")
    check(await prober.probe(by("http://nosuch.test", url)), UNKNOWN, "cannot probe: proxy: name not found")


async def test_a_proxy_that_cannot_be_connected_to_in_time_says_nothing_about_the_vim(prober: Prober) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        with socket.create_connection(address), socket.socket() as second:  # its queue holds no third
            second.setblocking(False)
            second.connect_ex(address)
            outcome = await prober.probe(by(address[1], "https://vim.test:5000", s=0.2))
    check(outcome, UNKNOWN, "cannot probe: no answer from the proxy within 0.2 s")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("handler", "status", "reason"),
    [
        (silence, DOWN, "no answer within 0.2 s"),  # it may well be waiting for the VIM
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n"), UNKNOWN, "cannot probe: proxy: it refuses to connect: HTTP 100"),
        (raw(b"HTTP/1.1 199 X\r\n\r\n"), UNKNOWN, "cannot probe: proxy: it refuses to connect: HTTP 199"),
        (raw(b"HTTP/1.1 300 X\r\n\r\n"), UNKNOWN, "cannot probe: proxy: it refuses to connect: HTTP 300"),
        (raw(b"HTTP/1.1 501 X\r\n\r\n"), UNKNOWN, "cannot probe: proxy: it refuses to connect: HTTP 501"),
        (raw(b"HTTP/1.1 505 X\r\n\r\n"), UNKNOWN, "cannot probe: proxy: it refuses to connect: HTTP 505"),
        (raw(b"HTTP/1.1 503 Busy\r\n\r\n"), DOWN, "the proxy cannot connect to it: HTTP 503"),
        (raw(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), DOWN, "the proxy cannot connect to it: HTTP 502"),
        (raw(b"HTTP/1.1 504 Gateway Timeout\r\n\r\n"), DOWN, "the proxy cannot connect to it: HTTP 504"),
        (raw(b"HTTP/1.1 401 Login\r\n\r\n"), UNKNOWN, "cannot probe: proxy: it refuses to connect: HTTP 401"),
        (raw(b"HTTP/1.1 403 Forbidden\r\n\r\n"), UNKNOWN, "cannot probe: proxy: it refuses to connect: HTTP 403"),
        (raw(b"HTTP/1.1 407 Login\r\n\r\n"), UNKNOWN, "cannot probe: proxy: it refuses to connect: HTTP 407"),
        (raw(b"SSH-2.0-OpenSSH\r\n\r\n"), UNKNOWN, "cannot probe: proxy: the answer is not HTTP"),
        (raw(b"x" * 100_000), UNKNOWN, "cannot probe: proxy: the answer is not HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\n"), UNKNOWN, "cannot probe: proxy: connection closed before an answer"),
        (hang_up, UNKNOWN, "cannot probe: proxy: connection closed before an answer"),
        (reset, UNKNOWN, "cannot probe: proxy: connection closed before an answer"),
    ],
)
async def test_what_a_proxy_answers_tells_whose_trouble_it_is(
    prober: Prober, handler: Handler, status: str, reason: str, scheme: str
) -> None:
    async with serving(handler) as proxy:
        outcome = await prober.probe(by(proxy, f"{scheme}://vim.test:5000", s=0.2))
    assert (outcome.status, outcome.reason) == (status, reason)
