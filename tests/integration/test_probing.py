"""What probes of any kind find at real servers and at none, and what a prober keeps to while many run."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.authority import Authority
from tests.support.descriptors import no_more_files
from tests.support.network import in_own_network, run
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
from vimmon.probes import HttpProbe, Outcome, TcpProbe, Trace, parse_probe


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


NET = "ip addr add 192.0.2.9/24 dev v0"
DEAD = {  # 192.0.2.1 and 192.0.2.2
    "refuses": "ip addr add 192.0.2.1/32 dev lo; ip addr add 192.0.2.2/32 dev lo",
    "is silent": f"{NET}; for i in 1 2; do ip neigh add 192.0.2.$i lladdr 02:00:00:00:00:01 dev v0; done",
    "is not there": NET,
}


@pytest.mark.parametrize("dead", DEAD)
@pytest.mark.parametrize(
    ("kind", "scheme", "reason"),
    [("http", "http", "HTTP 300"), ("http", "https", "HTTP 300"), ("tcp", "http", "connected")],
)
async def test_a_name_whose_first_address_is_dead_is_reachable(
    kind: str, scheme: str, reason: str, dead: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "trusted")
    secure = {"ca_file": str(authority.file), "server_name": "vim.test"} if scheme == "https" else {}

    async def test() -> None:
        run(DEAD[dead])
        tls, trace = authority.server() if secure else None, Trace()
        async with new_prober() as prober, serving(Web(300, VERSIONS), tls=tls) as port:
            preset = {"preset": "keystone"} if kind == "http" else {}
            given = {"kind": kind, "auth_url": f"{scheme}://first-dead.test:{port}", "timeout_s": 5}
            began = asyncio.get_running_loop().time()
            check(await prober.probe(parse_probe({**given, **preset, **secure}), trace), UP, reason)
            assert asyncio.get_running_loop().time() - began < 1.5, "the next one is tried before a third of the time"
            assert trace.address == f"127.0.0.1:{port}"

    await in_own_network(test)


@pytest.mark.parametrize(
    ("dead", "reason"),
    [
        ("refuses", "connection refused"),
        ("is silent", "no answer within 0.3 s"),
        ("is not there", "no route to host"),
    ],
)
@pytest.mark.parametrize("kind", [keystone, tcp])
async def test_a_name_whose_addresses_are_all_dead_is_unreachable(kind: Any, dead: str, reason: str) -> None:
    async def test() -> None:
        run(DEAD[dead])
        async with new_prober() as prober:
            timeout_s = 0.3 if dead == "is silent" else 30
            async with asyncio.timeout(10):
                check(await prober.probe(kind(5000, host="all-dead.test", s=timeout_s)), DOWN, reason)

    await in_own_network(test)


@pytest.mark.parametrize("kind", [keystone, tcp])
async def test_without_a_free_descriptor_nothing_is_said_of_the_vim(
    prober: Prober, kind: Any, closed_port: int
) -> None:
    with no_more_files():
        outcome = await prober.probe(kind(closed_port))
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


async def test_with_little_time_the_next_address_is_tried_sooner() -> None:
    async def test() -> None:
        run(DEAD["is silent"])
        async with new_prober() as prober, serving(silence) as port:
            check(await prober.probe(tcp(port, host="first-dead.test", s=0.2)), UP, "connected")

    await in_own_network(test)


async def test_the_slower_addresses_are_given_up_once_one_has_answered() -> None:
    async def test() -> None:
        run(DEAD["is silent"])
        async with new_prober() as prober, serving(silence) as port:
            check(await prober.probe(tcp(port, host="first-dead.test", s=5)), UP, "connected")
            await turns(5)
            assert not [task for task in asyncio.all_tasks() if "_race" in repr(task)]
            assert SYN_SENT not in connections()

    await in_own_network(test)


SYN_SENT = "02"  # linux/tcp_states.h


def connections() -> list[str]:
    """The states of those on this thread's network."""
    return [line.split()[3] for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()]


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
