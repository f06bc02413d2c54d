"""What probes of any kind find at real servers and at none, and what a prober keeps to while many run."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.servers import (
    DOWN,
    UNKNOWN,
    UP,
    VERSIONS,
    Web,
    check,
    hang_up,
    keystone,
    new_prober,
    serving,
    silence,
    tcp,
)
from vimmon.actions import probing
from vimmon.actions.probing import Prober, wire
from vimmon.actions.probing.resolver import Address
from vimmon.probes import HttpProbe, Outcome, TcpProbe


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as local:
            local.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with new_prober() as prober:
        yield prober


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as unheard:  # bound, so that nobody else gets it; not listening
        unheard.bind(("127.0.0.1", 0))
        yield unheard.getsockname()[1]


@pytest.mark.parametrize("kind", [keystone, tcp])
async def test_a_port_where_nobody_listens_refuses(prober: Prober, kind: Any, closed_port: int) -> None:
    check(await prober.probe(kind(closed_port)), DOWN, "connection refused")


@pytest.mark.parametrize("kind", [keystone, tcp])
async def test_a_name_that_does_not_exist_is_not_found(prober: Prober, kind: Any) -> None:
    check(await prober.probe(kind(5000, host="nosuch.test")), DOWN, "name not found")


async def test_a_silent_server_is_not_waited_for_longer_than_the_timeout(prober: Prober) -> None:
    async with serving(silence) as port:
        check(await prober.probe(keystone(port, s=0.1)), DOWN, "no answer within 0.1 s")


async def test_a_tcp_probe_is_content_with_a_connection(prober: Prober) -> None:
    async with serving(silence) as port:
        check(await prober.probe(tcp(port)), UP, "connected")


async def test_a_tcp_probe_resets_its_connection() -> None:
    ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    async def read(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionResetError as error:
            ended.set_result(error)
        else:
            ended.set_result(None)

    async with Prober() as prober, serving(read) as port:
        await prober.probe(tcp(port))
        assert isinstance(await asyncio.wait_for(ended, 5), ConnectionResetError)


@needs_ipv6
@pytest.mark.parametrize("host", ["[::1]", "[::1%25lo]"])
@pytest.mark.parametrize(("kind", "reason"), [(keystone, "HTTP 300"), (tcp, "connected")])
async def test_an_ipv6_address_is_probed_with_and_without_zone(
    prober: Prober, kind: Any, host: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", never)
    web = Web(300, VERSIONS)
    async with serving(web, "::1") as port:
        check(await prober.probe(kind(port, host=host)), UP, reason)
    assert all(f"\r\nHost: [::1]:{port}\r\n" in request for request in web.requests)


@pytest.mark.parametrize("kind", [keystone, tcp])
async def test_the_loops_default_executor_is_never_used(
    prober: Prober, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Web(300, VERSIONS)) as port:
        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", never)
        for host in ("127.0.0.1", "vim.test"):
            assert (await prober.probe(kind(port, host=host))).status == UP


def never(*_: object) -> None:
    raise AssertionError("the loop's default executor was used")


def dead_net(monkeypatch: pytest.MonkeyPatch, *, silent: bool, error: int = 111) -> list[Address]:
    """Makes 192.0.2.0/24 refuse or swallow every connection; the list tells which were tried."""
    tried = []
    connect = wire._connect

    async def pretend(address: Address, source: Address | None) -> socket.socket:
        tried.append(address)
        if not address.sockaddr[0].startswith("192.0.2."):
            return await connect(address, source)
        if silent:
            await asyncio.get_running_loop().create_future()
        raise OSError(error, "pretended")

    monkeypatch.setattr(wire, "_connect", pretend)
    return tried


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize(("kind", "reason"), [(keystone, "HTTP 300"), (tcp, "connected")])
async def test_a_name_whose_first_address_is_dead_is_reachable(
    prober: Prober, kind: Any, reason: str, silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = dead_net(monkeypatch, silent=silent)
    async with serving(Web(300, VERSIONS)) as port:
        check(await prober.probe(kind(port, host="first-dead.test", s=0.3)), UP, reason)
    assert len(tried) == 2


async def test_a_name_whose_addresses_are_all_dead_is_unreachable(
    prober: Prober, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_net(monkeypatch, silent=False)
    check(await prober.probe(tcp(5000, host="all-dead.test")), DOWN, "connection refused")
    dead_net(monkeypatch, silent=True)
    check(await prober.probe(tcp(5000, host="all-dead.test", s=0.1)), DOWN, "no answer within 0.1 s")


@pytest.mark.parametrize("kind", [keystone, tcp])
async def test_without_a_free_descriptor_nothing_is_said_of_the_vim(
    prober: Prober, kind: Any, closed_port: int
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        outcome = await prober.probe(kind(closed_port))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    check(outcome, UNKNOWN, "cannot probe: too many open files in this process")


async def test_the_timeout_begins_when_the_probes_turn_has_come() -> None:
    async with new_prober(concurrency=1) as prober, serving(silence) as port:
        slow = asyncio.ensure_future(prober.probe(keystone(port, s=0.3)))
        quick = asyncio.ensure_future(prober.probe(tcp(port, s=0.1)))
        await asyncio.sleep(0)
        assert (prober.running, prober.waiting) == (1, 1)
        check(await slow, DOWN, "no answer within 0.3 s")
        check(await quick, UP, "connected")
        assert (prober.running, prober.waiting) == (0, 0)


async def test_no_more_probes_run_at_once_than_allowed() -> None:
    most = 0

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        most = max(most, busy.running)
        await Web(300, VERSIONS)(reader, writer)

    async with new_prober(concurrency=3) as busy, serving(note) as port:
        outcomes = await asyncio.gather(*(busy.probe(keystone(port)) for _ in range(20)))
    assert most == 3
    assert {outcome.status for outcome in outcomes} == {UP}


async def test_a_bug_escapes_and_gives_its_turn_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> Outcome:
        raise ZeroDivisionError

    async with new_prober(concurrency=1) as prober, serving(silence) as port:
        with monkeypatch.context() as patch:
            patch.setattr(probing, "KINDS", {TcpProbe: broken})
            with pytest.raises(ZeroDivisionError):
                await prober.probe(tcp(port))
        check(await prober.probe(tcp(port)), UP, "connected")


async def test_a_probe_closes_its_connection_however_it_ends(
    prober: Prober, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(wire, "socket", SimpleNamespace(socket=Noted, SOCK_STREAM=socket.SOCK_STREAM))
    async with serving(silence) as silent, serving(Web(300, VERSIONS)) as web, serving(hang_up) as closing:
        await prober.probe(tcp(closed_port))
        await prober.probe(tcp(silent))
        await prober.probe(keystone(silent, s=0.05))
        await prober.probe(keystone(closing))
        await prober.probe(keystone(web))
        await prober.probe(keystone(silent, scheme="https", s=0.05))
        proxied = {"auth_url": "https://vim.test", "preset": "plain", "proxy": f"http://127.0.0.1:{closing}"}
        await prober.probe(HttpProbe.model_validate(proxied))
        cancelled = [asyncio.ensure_future(prober.probe(kind(silent))) for kind in (keystone, tcp)]
        await turns(2)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        await turns(20)
    assert len(made) == 9
    assert [each.fileno() for each in made] == [-1] * 9


async def test_the_slower_addresses_are_given_up_once_one_has_answered(
    prober: Prober, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_net(monkeypatch, silent=True)
    async with serving(silence) as port:
        await prober.probe(tcp(port, host="first-dead.test", s=0.1))
        await turns(5)
    assert not any("pretend" in repr(task) for task in asyncio.all_tasks())


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
