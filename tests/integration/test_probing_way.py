"""Which way a probe goes (family, source address), where its time went, and who waits for whom."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.network import in_own_network, run
from tests.support.servers import DOWN, UNKNOWN, UP, VERSIONS, Web, check, new_prober, serving, silence, tcp
from vimmon.actions.probing import Prober, lookups
from vimmon.actions.probing.files import FILES_WANTED
from vimmon.actions.probing.resolver import Resolver
from vimmon.probes import Probe, Trace, parse_probe

NOT_HERE = "cannot probe: this host does not have the source address 203.0.113.9"


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with new_prober() as prober:
        yield prober


def of(kind: str, port: int, host: str = "127.0.0.1", **settings: Any) -> Probe:
    preset = {"preset": "keystone"} if kind == "http" else {}
    return parse_probe({"kind": kind, "auth_url": f"http://{host}:{port}", "timeout_s": 2} | preset | settings)


@pytest.mark.parametrize(("kind", "reason"), [("http", "HTTP 300"), ("tcp", "connected")])
async def test_it_connects_from_the_source_address(prober: Prober, kind: str, reason: str) -> None:
    peers = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        await Web(300, VERSIONS)(reader, writer)

    async with serving(note) as port:
        check(await prober.probe(of(kind, port, source_address="127.0.0.55")), UP, reason)
        check(await prober.probe(of(kind, port, source_address="203.0.113.9")), UNKNOWN, NOT_HERE)
        check(await prober.probe(of(kind, port, "vim.test", source_address="203.0.113.9")), UNKNOWN, NOT_HERE)
    assert peers == ["127.0.0.55"]


@pytest.mark.parametrize("kind", ["http", "tcp", "icmp"])
@pytest.mark.parametrize("settings", [{"ip_family": "6"}, {"source_address": "::1"}])
async def test_a_name_without_an_address_of_the_wanted_family_is_not_asked(
    prober: Prober, kind: str, settings: dict[str, str]
) -> None:
    check(await prober.probe(of(kind, 5000, "vim.test", **settings)), DOWN, "the name has no IPv6 address")


async def test_of_a_name_with_both_families_the_wanted_one_is_asked() -> None:
    def both(host: bytes, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        return [
            (socket.AF_INET6, type, 6, "", ("2001:db8::1", 0, 0, 0)),
            (socket.AF_INET, type, 6, "", ("127.0.0.1", 0)),
        ]

    trace = Trace()
    async with Prober(resolver=Resolver(getaddrinfo=both)) as prober, serving(silence) as port:
        check(await prober.probe(of("tcp", port, "both.test", ip_family="4"), trace), UP, "connected")
    assert trace.address == f"127.0.0.1:{port}"


@contextlib.contextmanager
def open_all_descriptors() -> Iterator[list[int]]:
    opened: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        yield opened
    finally:
        for each in opened:
            os.close(each)


def knowing(*ips: str) -> Prober:
    """A prober for which every name has these addresses."""

    def getaddrinfo(host: bytes, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, type, 6, "", (ip, 0)) for ip in ips]

    return Prober(resolver=Resolver(getaddrinfo=getaddrinfo))


@pytest.mark.parametrize("alive", [6, 13])
async def test_of_very_many_addresses_each_has_its_turn_and_one_that_answers_keeps_it(alive: int) -> None:
    ips = [f"127.0.1.{i + 1}" for i in range(14)]
    async with serving(silence, ips[alive]) as port, knowing(*ips) as prober:
        found = [(await prober.probe(of("tcp", port, "many.test"))).status for _ in range(6)]
        assert found == [DOWN] * (alive // 6) + [UP] * (6 - alive // 6)


async def test_each_name_with_very_many_addresses_has_turns_of_its_own() -> None:
    ips = [f"127.0.1.{i + 1}" for i in range(14)]
    async with serving(silence, ips[6]) as port, knowing(*ips) as prober:
        for status in (DOWN, UP):
            for name in ("one.test", "another.test"):
                assert (await prober.probe(of("tcp", port, name))).status == status


async def test_of_very_many_addresses_those_of_the_wanted_family_are_tried() -> None:
    ips = [f"127.0.1.{i + 1}" for i in range(6)]

    def both(host: bytes, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        six = [(socket.AF_INET6, type, 6, "", (f"2001:db8::{i}", 0, 0, 0)) for i in range(1, 7)]
        return [*six, *((socket.AF_INET, type, 6, "", (ip, 0)) for ip in ips)]

    async with Prober(resolver=Resolver(getaddrinfo=both)) as prober, serving(silence, ips[-1]) as port:
        check(await prober.probe(of("tcp", port, "both.test", ip_family="4")), UP, "connected")


async def test_a_zone_is_looked_up_each_time_since_its_number_may_change() -> None:
    async def test() -> None:
        resolver, numbers = Resolver(), list[int]()
        for _ in range(2):
            run("ip link add z0 type veth peer name z1")
            [address] = await resolver.addresses("fe80::1%z0", 5000, 5)
            assert address.sockaddr == ("fe80::1", 5000, 0, socket.if_nametoindex("z0"))
            numbers.append(socket.if_nametoindex("z0"))
            run("ip link del z0")
        assert numbers[0] != numbers[1]
        resolver.close()

    await in_own_network(test)


# Where the time went


async def test_a_trace_tells_the_time_of_each_phase_and_the_address(prober: Prober) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        await Web(300, VERSIONS)(reader, writer)

    trace = Trace()
    async with serving(slow) as port:
        check(await prober.probe(of("http", port, "vim.test"), trace), UP, "HTTP 300")
    times = (trace.turn_ms, trace.name_ms, trace.connect_ms, trace.answer_ms)
    assert all(each is not None and 0 <= each < 2000 for each in times)
    assert trace.answer_ms is not None
    assert trace.answer_ms >= 99
    assert trace.tls_ms is None
    assert trace.address == f"127.0.0.1:{port}"


async def test_a_trace_ends_where_the_probe_did(prober: Prober) -> None:
    trace = Trace()
    async with serving(silence) as port:
        check(await prober.probe(of("http", port, timeout_s=0.1), trace), DOWN, "no answer within 0.1 s")
    assert (trace.connect_ms is not None, trace.answer_ms) == (True, None)
    assert trace.unfinished == "answer"
    assert 20 <= (trace.unfinished_ms or 0) < 2000
    trace = Trace()
    check(await prober.probe(of("tcp", 5000, "nosuch.test"), trace), DOWN, "name not found")
    assert (trace.name_ms, trace.connect_ms, trace.address) == (None, None, None)
    assert trace.unfinished == "name"


@pytest.mark.parametrize(
    ("kind", "host", "unfinished"),
    [("https", "127.0.0.1", "tls"), ("tcp", "192.0.2.1", "connect"), ("icmp", "192.0.2.1", "answer")],
)
async def test_a_trace_tells_the_phase_that_the_probe_did_not_get_past(kind: str, host: str, unfinished: str) -> None:
    async def test() -> None:
        run("ip addr add 192.0.2.9/24 dev v0; ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev v0")
        trace = Trace()
        async with new_prober() as prober, serving(silence) as port:
            probe = {"kind": kind.removesuffix("s"), "auth_url": f"https://{host}:{port}", "timeout_s": 0.2}
            preset = {"preset": "keystone"} if kind == "https" else {}
            check(await prober.probe(parse_probe({**probe, **preset}), trace), DOWN, "no answer within 0.2 s")
        assert trace.unfinished == unfinished
        assert 50 <= (trace.unfinished_ms or 0) < 2000

    await in_own_network(test)


async def test_a_trace_of_a_probe_that_came_to_its_end_has_no_unfinished_phase() -> None:
    async with new_prober() as prober, serving(Web(300, VERSIONS)) as port:
        for kind in ("http", "tcp"):
            trace = Trace()
            assert (await prober.probe(of(kind, port), trace)).status == UP
            assert (trace.unfinished, trace.unfinished_ms) == (None, None)


async def test_a_trace_tells_how_long_a_probe_waited_for_its_turn() -> None:
    async with new_prober(concurrency=1) as prober, serving(silence) as port:
        first = asyncio.ensure_future(prober.probe(of("http", port, timeout_s=0.1)))
        await asyncio.sleep(0)
        trace = Trace()
        check(await prober.probe(tcp(port), trace), UP, "connected")
        await first
    assert trace.turn_ms is not None
    assert trace.turn_ms >= 90


# When this process is late, or short of something


@pytest.mark.parametrize(("host", "turns"), [("127.0.0.1", 1), ("both.test", 2)])
async def test_a_connection_that_was_made_in_time_but_seen_late_counts(host: str, turns: int) -> None:
    async with knowing("127.0.0.1", "127.0.0.2") as prober, serving(silence) as port:
        check(await prober.probe(of("tcp", port, host)), UP, "connected")  # from here on the name is known
        probing = asyncio.ensure_future(prober.probe(of("tcp", port, host, timeout_s=0.05)))
        for _ in range(turns):  # of the loop, after which the connection has begun
            await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251 - the loop is late
        check(await probing, UP, "connected")


async def test_an_http_answer_that_came_in_time_but_was_read_late_counts(prober: Prober) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def answer_once() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            asked.set()
            may_answer.wait(10)
            connection.sendall(b"HTTP/1.1 300 X\r\nContent-Length: %d\r\n\r\n%s" % (len(VERSIONS), VERSIONS))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = asyncio.create_task(asyncio.to_thread(answer_once))
        probing = asyncio.ensure_future(prober.probe(of("http", listening.getsockname()[1], timeout_s=0.5)))
        assert await asyncio.to_thread(asked.wait, 10)
        may_answer.set()
        time.sleep(0.6)  # noqa: ASYNC251 - the loop is late
        check(await probing, UP, "HTTP 300")
        await answering


BY_ROUTE = {
    "unreachable": "this host's routes lead nowhere from here",
    "prohibit": "forbidden by this host's routes, or a broadcast address",
}


@pytest.mark.parametrize("kind", ["http", "tcp", "icmp"])
@pytest.mark.parametrize("network", ["203.0.113.0/24", "2001:db8:99::/64"])
@pytest.mark.parametrize("route", ["unreachable", "prohibit"])
async def test_a_route_of_this_host_that_forbids_the_way_says_nothing_about_the_vim(
    kind: str, network: str, route: str
) -> None:
    async def test() -> None:
        run(f"ip route add {route} {network}")
        target = network.partition("/")[0]
        target = f"[{target}1]" if ":" in target else target
        async with new_prober() as prober:
            check(await prober.probe(of(kind, 5000, target)), UNKNOWN, f"cannot probe: {BY_ROUTE[route]}")

    await in_own_network(test)


@pytest.mark.parametrize("kind", ["tcp", "icmp"])
@pytest.mark.parametrize("host", ["198.51.100.77", "[2001:db8:51::77]"])
async def test_a_host_that_is_not_there_is_down_also_when_that_is_known_already(kind: str, host: str) -> None:
    async def test() -> None:
        async with new_prober() as prober:
            for _ in range(3):
                check(await prober.probe(of(kind, 5000, host, timeout_s=30)), DOWN, "no route to host")

    await in_own_network(test)


async def test_a_broadcast_address_says_nothing_about_a_vim() -> None:
    async def test() -> None:
        async with new_prober() as prober:
            outcome = await prober.probe(of("icmp", 5000, "198.51.100.255"))
            check(outcome, UNKNOWN, f"cannot probe: {BY_ROUTE['prohibit']}")

    await in_own_network(test)


async def test_a_vim_is_not_blamed_for_an_address_that_could_not_be_asked_for_want_of_a_descriptor(
    limits: tuple[int, int],
) -> None:
    with socket.create_server(("127.0.0.2", 0), backlog=0) as full, contextlib.ExitStack() as held:
        port = full.getsockname()[1]
        for _ in range(4):  # whoever comes after these gets no answer
            other = held.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(("127.0.0.2", port))
        async with knowing("127.0.0.2", "127.0.0.1") as prober:
            probe = of("tcp", port, "both.test", timeout_s=0.3)
            resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))
            last = held.enter_context(open_all_descriptors())
            os.close(last.pop())
            reason = "cannot probe: too many open files in this process"
            check(await prober.probe(probe), UNKNOWN, reason)


# Who waits for whom


async def test_1000_vims_are_on_time_while_the_names_of_others_are_never_found_out() -> None:
    held = threading.Event()

    def hang(host: bytes, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        if host == b"known.test":
            return [(socket.AF_INET, type, 6, "", ("127.0.0.1", 0))]
        held.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async with (
        Prober(resolver=Resolver(getaddrinfo=hang, ttl_s=0), concurrency=300) as prober,
        serving(silence) as port,
    ):
        check(await prober.probe(tcp(port, host="known.test")), UP, "connected")  # its time is over at once
        hanging = [asyncio.ensure_future(prober.probe(tcp(port, host=f"vim-{i}.test", s=30))) for i in range(100)]
        await asyncio.sleep(0)
        late_ms: list[float] = []

        async def ask() -> None:
            trace = Trace()
            check(await prober.probe(tcp(port, host="known.test", s=10), trace), UP, "connected")
            assert trace.turn_ms is not None
            assert trace.name_ms is not None
            late_ms.append(trace.turn_ms + trace.name_ms)

        async with asyncio.timeout(20):
            await asyncio.gather(*(ask() for _ in range(1000)))
        assert len(late_ms) == 1000
        assert max(late_ms) < 3000  # all of them at once, and a slow machine
        assert not any(task.done() for task in hanging)
        held.set()
        for outcome in await asyncio.gather(*hanging):
            check(outcome, UNKNOWN, "cannot probe: the name servers do not answer, or fail")


async def test_1000_new_vims_are_on_time_while_the_names_of_others_are_never_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody has looked up the names of any of them."""
    monkeypatch.setattr(lookups, "SLOW_S", 0.02)
    held = threading.Event()

    def hang(host: bytes, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        if host.startswith(b"dead"):
            held.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, type, 6, "", ("127.0.0.1", 0))]

    async with Prober(resolver=Resolver(getaddrinfo=hang)) as prober, serving(silence) as port:
        hanging = [asyncio.ensure_future(prober.probe(tcp(port, host=f"dead-{i}.test", s=60))) for i in range(100)]
        await asyncio.sleep(0)
        asked = [asyncio.ensure_future(prober.probe(tcp(port, host=f"vim-{i}.test", s=20))) for i in range(1000)]
        async with asyncio.timeout(20):
            for outcome in await asyncio.gather(*asked):
                check(outcome, UP, "connected")
        assert not any(task.done() for task in hanging)
        held.set()
        for outcome in await asyncio.gather(*hanging):
            check(outcome, UNKNOWN, "cannot probe: the name servers do not answer, or fail")


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_the_limit_of_open_files_is_raised_as_far_as_it_is_wanted(
    limits: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _, hard = limits
    if hard < FILES_WANTED:
        pytest.skip("this process may not open enough files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (900, hard))
    async with Prober():
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (FILES_WANTED, hard)
    assert f"open_files_raised old=900 new={FILES_WANTED}" in caplog.text
    assert "open_files_low" not in caplog.text


async def test_a_limit_that_carries_too_few_probes_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (900, 900))  # a hard one cannot be put back
    async with Prober():
        pass
    assert "open_files_low limit=900 probes_at_once=300 remedy=" in caplog.text
    assert "LimitNOFILE" in caplog.text
