"""What the icmp probe finds on real networks: its own loopback, links to nowhere, and hosts that forbid it to ask."""

import asyncio
import errno
import gc
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.network import drop_net_raw, in_own_network, run, set_sysctl
from tests.support.polling import eventually
from tests.support.servers import DOWN, UNKNOWN, UP, check, new_prober
from vimmon.actions.probing import Prober
from vimmon.actions.probing.echo import CHANGE_AFTER_S, SLOT_S
from vimmon.actions.probing.echo_peer import Peer
from vimmon.actions.probing.icmp import _forget, outcome_of
from vimmon.actions.probing.reasons import Trouble
from vimmon.actions.probing.resolver import Resolver
from vimmon.probes import IcmpProbe, IpFamily, Outcome, Trace

NOT_ALLOWED = (
    "cannot probe: no ICMP socket is allowed here: let net.ipv4.ping_group_range contain this process's group, "
    "or grant CAP_NET_RAW"
)


def icmp(host: str = "127.0.0.1", *, s: float = 2, source: str | None = None) -> IcmpProbe:
    host = f"[{host.replace('%', '%25')}]" if ":" in host else host
    return IcmpProbe(auth_url=f"https://{host}:5000/v3", timeout_s=s, source_address=source)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.200.0.1", "::1"])
async def test_this_host_replies(host: str) -> None:
    async with new_prober() as prober:
        outcome = await prober.probe(icmp(host))
    if outcome.reason == NOT_ALLOWED:
        pytest.skip("this process may not open ICMP sockets")
    check(outcome, UP, "ICMP reply")


@pytest.mark.parametrize("pings", [True, False], ids=["unprivileged", "raw"])
async def test_hosts_reply_on_either_kind_of_socket(pings: bool) -> None:
    async def test() -> None:
        if pings:
            drop_net_raw()
        async with new_prober() as prober:
            for host in ("127.0.0.1", "127.0.0.9", "198.51.100.1", "::1", "2001:DB8:51::1", "fe80::51%v0"):
                check(await prober.probe(icmp(host)), UP, "ICMP reply")
            check(await prober.probe(icmp("fe80::51%nosuch0")), UNKNOWN, f"cannot probe: {NO_INTERFACE}")

    await in_own_network(test, pings=pings)


NO_INTERFACE = "this host has no network interface nosuch0"


async def test_where_it_is_not_allowed_to_ask_the_sysctl_is_named_until_it_is() -> None:
    async def test() -> None:
        drop_net_raw()
        async with new_prober() as prober:
            for host in ("127.0.0.1", "::1"):
                check(await prober.probe(icmp(host)), UNKNOWN, NOT_ALLOWED)
            set_sysctl("ipv4/ping_group_range", "0 2147483647")
            for host in ("127.0.0.1", "::1"):
                check(await prober.probe(icmp(host)), UP, "ICMP reply")

    await in_own_network(test, pings=False)


@pytest.mark.parametrize("pings", [True, False], ids=["unprivileged", "raw"])
@pytest.mark.parametrize("host", ["198.51.100.77", "2001:db8:51::77"])
async def test_a_host_that_is_not_there_is_told_before_the_time_is_over(host: str, pings: bool) -> None:
    async def test() -> None:
        async with new_prober() as prober:
            async with asyncio.timeout(10):
                check(await prober.probe(icmp(host, s=30)), DOWN, "no route to host")

    await in_own_network(test, pings=pings)


@pytest.mark.parametrize("pings", [True, False], ids=["unprivileged", "raw"])
async def test_the_trouble_of_one_host_is_not_told_of_another(pings: bool) -> None:
    async def test() -> None:
        dead = [
            icmp(f"198.51.100.{number}", s=30) for number in range(50, 60)
        ]  # the kernel tells of 50 at once, all networks together
        async with new_prober() as prober:
            lost = [asyncio.ensure_future(prober.probe(probe)) for probe in dead]
            async with asyncio.timeout(10):
                while not all(task.done() for task in lost):
                    check(await prober.probe(icmp()), UP, "ICMP reply")
            for task in lost:
                check(await task, DOWN, "no route to host")

    await in_own_network(test, pings=pings)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8:99::1"])
async def test_a_network_without_a_route_says_nothing_about_the_vim(host: str) -> None:
    async def test() -> None:
        async with new_prober() as prober:
            check(await prober.probe(icmp(host)), UNKNOWN, "cannot probe: this host has no route to the network")
            check(await prober.probe(icmp()), UP, "ICMP reply")

    await in_own_network(test)


@pytest.mark.parametrize(("kind", "reason"), [("host", "no route to host"), ("admin", "forbidden by a firewall")])
async def test_what_a_router_says_is_told_at_once(kind: str, reason: str) -> None:
    async def test() -> None:
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        code = {"host": 1, "admin": 13}[kind]
        async with new_prober() as prober, overhearing() as next_request:
            probing = asyncio.ensure_future(prober.probe(icmp("127.0.0.2", s=30)))
            request = await next_request()
            forge(request, kind=3, code=code, body=request.packet)
            outcome = await probing
        assert outcome.status == DOWN
        assert outcome.reason.startswith(reason)

    await in_own_network(test)


@pytest.mark.parametrize(("kind", "code"), [(3, 4), (5, 1), (4, 0)], ids=["too big", "redirect", "quench"])
async def test_what_a_router_only_advises_is_not_held_against_the_vim(kind: int, code: int) -> None:
    async def test() -> None:
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        async with new_prober() as prober, overhearing() as next_request:
            probing = asyncio.ensure_future(prober.probe(icmp("127.0.0.2", s=30)))
            request = await next_request()
            forge(request, kind=kind, code=code, body=request.packet)
            check(await prober.probe(icmp("127.0.0.3", s=0.1)), DOWN, "no answer within 0.1 s")
            forge(request)
            check(await probing, UP, "ICMP reply")

    await in_own_network(test)


@pytest.mark.parametrize("pings", [True, False], ids=["unprivileged", "raw"])
async def test_a_silent_host_is_not_waited_for_longer_than_the_timeout(pings: bool) -> None:
    async def test() -> None:
        async with new_prober() as prober:
            for host, ignore in (("127.0.0.1", "ipv4/icmp_echo_ignore_all"), ("::1", "ipv6/icmp/echo_ignore_all")):
                set_sysctl(ignore, 1)
                began = time.monotonic()
                check(await prober.probe(icmp(host, s=0.1)), DOWN, "no answer within 0.1 s")
                assert 0.1 <= time.monotonic() - began < 0.9
                set_sysctl(ignore, 0)
                check(await prober.probe(icmp(host, s=1)), UP, "ICMP reply")

    await in_own_network(test, pings=pings)


@pytest.mark.parametrize("pings", [True, False], ids=["unprivileged", "raw"])
@pytest.mark.parametrize(
    "wrong",
    [{"nonce": b"\0" * 8}, {"ahead": 1}, {"source": "127.0.0.3"}, {"ident": 1}, {"cut": 15}, {"kind": 14}],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_a_reply_counts_only_with_address_sequence_id_and_nonce(wrong: dict[str, int], pings: bool) -> None:
    async def test() -> None:
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        async with new_prober() as prober, overhearing() as next_request:
            probing = asyncio.ensure_future(prober.probe(icmp("127.0.0.2", s=30)))
            request = await next_request()
            forge(request, **wrong)  # type: ignore[arg-type]  # of either kind
            check(await prober.probe(icmp("127.0.0.4", s=0.05)), DOWN, "no answer within 0.05 s")
            assert not probing.done()
            forge(request)
            check(await probing, UP, "ICMP reply")

    await in_own_network(test, pings=pings)


async def test_a_reply_counts_with_options_in_its_header_of_ip_as_well() -> None:
    async def test() -> None:
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        async with new_prober() as prober, overhearing() as next_request:
            probing = asyncio.ensure_future(prober.probe(icmp("127.0.0.2", s=30)))
            request = await next_request()
            forge(request, options=b"\x01" * 8)
            check(await probing, UP, "ICMP reply")

    await in_own_network(test, pings=False)


async def test_what_is_left_in_the_buffer_does_not_complete_a_reply_that_was_cut() -> None:
    async def test() -> None:
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        async with new_prober() as prober, overhearing() as next_request:
            probing = asyncio.ensure_future(prober.probe(icmp("127.0.0.2", s=30)))
            request = await next_request()

            async def is_nothing(forged: dict[str, Any]) -> None:
                forge(request, **forged)
                check(await prober.probe(icmp("127.0.0.4", s=0.05)), DOWN, "no answer within 0.05 s")
                assert not probing.done()

            for options in (b"", b"\x01" * 8):  # what the first lacks the second has
                await is_nothing({"source": "127.0.0.3", "options": options})
                await is_nothing({"cut": 15, "options": options})
            forge(request)
            check(await probing, UP, "ICMP reply")

    await in_own_network(test, pings=False)


async def test_sequence_numbers_begin_again_and_leave_out_those_that_still_wait() -> None:
    async def test() -> None:
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        told: list[float | Exception | None] = []
        async with Prober() as prober:
            peers = [peer_at(prober, icmp(f"127.0.0.{number}", s=30), told.append) for number in range(1, 9)]
            prober.ask(peers[:1])
            (current,) = prober._shared.echo._current.values()
            chosen = current.socket
            for first, some in ((0xFFFF, peers[1:3]), (0xFFFD, peers[3:6])):
                chosen._sequence = first
                prober.ask(some)
            chosen._sequence = peers[0].sequence - 2
            prober.ask(peers[6:])
            assert [peer.sequence for peer in peers[1:6]] == [0, 1, 0xFFFE, 0xFFFF, 2]
            assert [peer.sequence - peers[0].sequence for peer in peers[6:]] == [-1, 1]
            assert chosen.waiting == {peer.sequence: peer for peer in peers}
            for peer in peers:
                peer.cancel()
        assert told == []

    await in_own_network(test)


async def test_the_id_changes_now_and_then_and_what_was_asked_under_the_old_one_still_counts() -> None:
    async def test() -> None:
        now = time.monotonic()
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        async with Prober(clock=lambda: now) as prober, overhearing() as next_request:
            probing = [asyncio.ensure_future(prober.probe(icmp("127.0.0.2", s=30)))]
            asked = [await next_request()]
            for passed_s in (CHANGE_AFTER_S - 1, 1):
                now += passed_s
                probing.append(asyncio.ensure_future(prober.probe(icmp("127.0.0.2", s=30))))
                asked.append(await next_request())
            assert asked[0].ident == asked[1].ident != asked[2].ident
            for request in asked:
                forge(request)
            for outcome in await asyncio.gather(*probing):
                check(outcome, UP, "ICMP reply")

    await in_own_network(test)


async def test_the_socket_of_an_old_id_is_closed_when_nothing_waits_for_it_any_more() -> None:
    async def test() -> None:
        now = time.monotonic()
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        async with Prober(clock=lambda: now) as prober:
            assert (await prober.probe(icmp(s=0.05))).status == DOWN
            files = len(os.listdir("/proc/self/fd"))
            now += CHANGE_AFTER_S
            assert (await prober.probe(icmp(s=0.05))).status == DOWN
            assert len(os.listdir("/proc/self/fd")) == files, "nothing waited for the one before"
            silent = asyncio.ensure_future(prober.probe(icmp(s=0.1)))
            await asyncio.sleep(0)  # it begins
            files = len(os.listdir("/proc/self/fd"))
            now += CHANGE_AFTER_S
            later = asyncio.ensure_future(prober.probe(icmp(s=30)))
            await asyncio.sleep(0)
            assert len(os.listdir("/proc/self/fd")) == files + 1
            check(await silent, DOWN, "no answer within 0.1 s")
            assert len(os.listdir("/proc/self/fd")) == files
            later.cancel()

    await in_own_network(test)


async def test_a_burst_of_replies_is_not_dropped() -> None:
    async def test() -> None:
        async with new_prober() as prober:
            await expect_all(prober, [icmp(f"127.0.{i // 250}.{i % 250 + 1}", s=10) for i in range(3000)])

    await in_own_network(test)


@pytest.mark.parametrize("pings", [True, False], ids=["unprivileged", "raw"])
@pytest.mark.parametrize("end", [20, 36, 26], ids=["address", "nonce", "ident"])
async def test_an_error_counts_only_with_what_was_sent(end: int, pings: bool) -> None:
    async def test() -> None:
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        async with new_prober() as prober, overhearing() as next_request:
            probing = asyncio.ensure_future(prober.probe(icmp("127.0.0.2", s=30)))
            request = await next_request()
            other = bytearray(request.packet)
            other[end - 1] ^= 1
            for about in (bytes(other), bytes(other[:26])):
                forge(request, kind=3, code=1, body=about)
            check(await prober.probe(icmp("127.0.0.3", s=0.05)), DOWN, "no answer within 0.05 s")
            assert not probing.done()
            forge(request, kind=3, code=1, body=request.packet[:28])
            check(await probing, DOWN, "no route to host")

    await in_own_network(test, pings=pings)


async def test_what_was_answered_in_time_but_read_late_counts() -> None:
    async def test() -> None:
        async with new_prober() as prober:
            probing = [asyncio.ensure_future(prober.probe(icmp(f"127.0.0.{i % 250 + 1}", s=0.2))) for i in range(1000)]
            while prober.running < len(probing):  # noqa: ASYNC110 - a turn of the loop, not a wait
                await asyncio.sleep(0)
            time.sleep(0.3)  # noqa: ASYNC251 - the loop is late
            for outcome in await asyncio.gather(*probing):
                check(outcome, UP, "ICMP reply")

    await in_own_network(test)


@pytest.mark.parametrize("silent", [False, True])
async def test_a_name_whose_first_address_is_dead_replies(silent: bool) -> None:
    async def test() -> None:
        if silent:
            run("ip addr add 192.0.2.9/24 dev v0; ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev v0")
        async with new_prober() as prober:
            trace = Trace()
            check(await prober.probe(icmp("first-dead.test", s=0.3), trace), UP, "ICMP reply")
            assert trace.address == "127.0.0.1:5000"
            all_dead = await prober.probe(icmp("all-dead.test", s=0.3))
            assert all_dead.status == (DOWN if silent else UNKNOWN)

    await in_own_network(test)


async def test_a_name_whose_addresses_are_all_silent_is_waited_for_as_long_as_its_time_lasts() -> None:
    async def test() -> None:
        wrong: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        run("ip addr add 192.0.2.9/24 dev v0")
        run("for i in 1 2; do ip neigh add 192.0.2.$i lladdr 02:00:00:00:00:01 dev v0; done")
        async with new_prober() as prober:
            trace = Trace()
            check(await prober.probe(icmp("all-dead.test", s=0.3), trace), DOWN, "no answer within 0.3 s")
            assert (trace.answer_ms, trace.unfinished) == (None, "answer")
            check(await prober.probe(icmp("first-dead.test", s=0.3)), UP, "ICMP reply")
        assert wrong == [], "those that were given up end quietly"

    await in_own_network(test)


@pytest.mark.parametrize("host", ["127.0.0.1", "first-dead.test"])
async def test_a_trace_tells_how_long_the_reply_took(host: str) -> None:
    async def test() -> None:
        async with new_prober() as prober:
            trace = Trace()
            check(await prober.probe(icmp(host), trace), UP, "ICMP reply")
            assert trace.answer_ms is not None
            assert trace.unfinished is None

    await in_own_network(test)


async def test_what_a_request_that_was_given_up_ended_with_is_nobodys_concern() -> None:
    wrong: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))

    async def fail() -> float:
        raise OSError(errno.EHOSTUNREACH, "it came together with another's reply")

    task = asyncio.ensure_future(fail())
    await asyncio.wait((task,))
    _forget(task)
    del task
    gc.collect()
    assert wrong == []


async def test_it_asks_from_the_source_address() -> None:
    async def test() -> None:
        async with new_prober() as prober, overhearing() as next_request:
            check(await prober.probe(icmp(source="127.0.0.55")), UP, "ICMP reply")
            assert (await next_request()).source == "127.0.0.55"
            check(await prober.probe(icmp()), UP, "ICMP reply")
            assert (await next_request()).source == "127.0.0.1"
            reason = "cannot probe: this host does not have the source address 203.0.113.9"
            check(await prober.probe(icmp(source="203.0.113.9")), UNKNOWN, reason)

    await in_own_network(test)


async def test_a_cancelled_probe_leaves_nothing_behind() -> None:
    async def test() -> None:
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        async with new_prober() as prober:
            probing = asyncio.ensure_future(prober.probe(icmp(s=0.1)))
            while not prober.running:  # noqa: ASYNC110 - a turn of the loop, not a wait
                await asyncio.sleep(0)
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
            assert prober.running == 0
            check(await prober.probe(icmp(s=0.2)), DOWN, "no answer within 0.2 s")  # past the time of the other
            assert prober.running == 0

    await in_own_network(test)


async def test_every_probe_gives_its_turn_back_however_it_ends() -> None:
    async def test() -> None:
        async with new_prober() as prober:
            check(await prober.probe(icmp()), UP, "ICMP reply")
            check(await prober.probe(icmp("192.0.2.1")), UNKNOWN, "cannot probe: this host has no route to the network")
            check(await prober.probe(icmp("198.51.100.77", s=30)), DOWN, "no route to host")
            set_sysctl("ipv4/icmp_echo_ignore_all", 1)
            check(await prober.probe(icmp(s=0.05)), DOWN, "no answer within 0.05 s")
            assert prober.running == 0

    await in_own_network(test)


async def test_what_was_answered_is_soon_forgotten_also_of_a_name_with_several_addresses() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with new_prober() as prober:
            await expect_all(prober, [icmp(host, s=1) for host in ("127.0.0.1", "first-dead.test")] * 50)
            await asyncio.sleep(0)  # of those that were given up
            sockets = [each.socket for each in prober._shared.echo._current.values()]
            assert sockets
            assert not any(each.waiting for each in sockets)
            assert max(slot * SLOT_S for each in sockets for slot in each.ending) < loop.time() + 1 + 4 * SLOT_S

    await in_own_network(test)


async def test_who_is_known_by_one_address_can_be_asked_without_a_task_as_long_as_that_is_fresh() -> None:
    async def test() -> None:
        now = time.monotonic()
        async with Prober(resolver=Resolver(getaddrinfo=addresses_of, clock=lambda: now), clock=lambda: now) as prober:
            one, two = (IcmpProbe(auth_url=f"http://{name}.test:5000") for name in ("one", "two"))
            only4 = IcmpProbe(auth_url="http://one.test:5000", ip_family=IpFamily.IPV4)
            nobody = prober.asker(print, print)
            assert prober.peer(one, nobody) is None, "nobody has looked it up"
            for probe in (one, two):
                check(await prober.probe(probe), UP, "ICMP reply")
            for probe, until in ((one, now + 60), (icmp(), float("inf")), (icmp("::1"), float("inf"))):
                peer, right_until = prober.peer(probe, nobody) or (None, 0.0)
                assert peer is not None
                assert right_until == until
            for probe in (two, only4, icmp(source="127.0.0.5")):
                assert prober.peer(probe, nobody) is None
            now += 60
            assert prober.peer(one, nobody) is None

    await in_own_network(test)


def peer_at(prober: Prober, probe: IcmpProbe, told: Callable[[float | Exception | None], None]) -> Peer:
    """Who hears of the time that a reply took, or of what came instead."""

    def replied(peers: Sequence[Peer], at: float) -> None:
        for peer in peers:
            told(at - peer.sent_at)

    found = prober.peer(probe, prober.asker(replied, lambda _, why: told(why)))
    assert found is not None
    return found[0]


@pytest.mark.parametrize("pings", [True, False], ids=["unprivileged", "raw"])
async def test_peers_are_told_what_came_of_each_request(pings: bool) -> None:
    async def test() -> None:
        told: dict[str, list[object]] = {"127.0.0.1": [], "::1": [], "198.51.100.77": [], "192.0.2.1": []}
        async with new_prober() as prober:
            peers = [peer_at(prober, icmp(host, s=20), heard.append) for host, heard in told.items()]
            for _ in range(2):
                assert prober.ask(peers) == []
                async with asyncio.timeout(10):
                    while prober.running:  # noqa: ASYNC110 - a turn of the loop, not a wait
                        await asyncio.sleep(0)
            set_sysctl("ipv4/icmp_echo_ignore_all", 1)
            silent: list[float | Exception | None] = []
            prober.ask([peer_at(prober, icmp(s=0.1), silent.append)])
            began = time.monotonic()
            while prober.running:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert silent == [None]
            assert 0.1 <= time.monotonic() - began < 5  # and not the 20 s of those before
        for host in ("127.0.0.1", "::1"):
            assert [0 < rtt_s < 1 for rtt_s in told[host]] == [True, True]  # type: ignore[operator]  # they replied
        for host, number in (("198.51.100.77", errno.EHOSTUNREACH), ("192.0.2.1", errno.ENETUNREACH)):
            assert [error.errno for error in told[host]] == [number, number]  # type: ignore[attr-defined]

    await in_own_network(test, pings=pings)


async def test_a_peer_has_its_turn_until_it_is_told_or_cancelled_and_who_has_to_wait_is_given_back() -> None:
    async def test() -> None:
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        told: list[float | Exception | None] = []
        async with Prober(concurrency=2) as prober:
            peers = [peer_at(prober, icmp(f"127.0.0.{number}", s=0.1), told.append) for number in (1, 2, 3)]
            assert prober.ask(peers) == peers[2:]
            assert prober.running == 2
            peers[0].cancel()
            peers[0].cancel()
            assert prober.running == 1
            assert prober.ask([peers[2]]) == []
            while prober.running:  # noqa: ASYNC110 - a turn of the loop, not a wait
                await asyncio.sleep(0)
            assert told == [None, None]

    await in_own_network(test)


async def test_a_bug_in_who_is_told_that_nothing_was_sent_costs_nobody_else_an_answer_or_a_turn() -> None:
    async def test() -> None:
        told: list[list[object]] = [[], []]

        def broken(_: object) -> None:
            raise ValueError("a bug")

        async with new_prober() as prober:
            hosts = (("192.0.2.1", broken), ("192.0.2.2", told[0].append), ("127.0.0.1", told[1].append))
            with pytest.raises(ValueError, match="a bug"):
                prober.ask([peer_at(prober, icmp(host), heard) for host, heard in hosts])
            await eventually(lambda: not prober.running)
        assert isinstance(told[0][0], Exception)
        assert isinstance(told[1][0], float)
        assert [len(each) for each in told] == [1, 1]

    await in_own_network(test)


async def test_a_bug_in_who_is_told_of_a_reply_costs_nobody_else_an_answer_or_a_turn() -> None:
    """The replies are there together, before the first is read."""

    async def test() -> None:
        told: list[float | Exception | None] = []
        bugs: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context["exception"]))
        async with new_prober() as prober:
            ours: list[int] = []

            def broken(_: object) -> None:
                ours.append(prober.running)
                raise ValueError("a bug")

            assert prober.ask([peer_at(prober, icmp("127.0.0.1"), heard) for heard in (broken, told.append)]) == []
            await eventually(lambda: told)
        assert [type(found) for found in (*told, *bugs)] == [float, ValueError]
        assert ours == [0], "all turns are back before the first is told"

    await in_own_network(test)


async def test_a_request_whose_time_is_over_when_a_slot_begins_ends_as_well() -> None:
    """Where a number is rounded so that the slot after its own begins at it, and not later."""
    ends_at = next(number * SLOT_S for number in range(1, 10_000) if _slot_after(number * SLOT_S) <= number * SLOT_S)

    async def test() -> None:
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        told: list[float | Exception | None] = []
        async with Prober() as prober:
            prober.ask([peer_at(prober, icmp(s=30), print)])
            now, echo = asyncio.get_running_loop().time, prober._shared.echo
            echo._now = lambda: 0.0
            peer = peer_at(prober, icmp("127.0.0.2"), told.append)
            peer.timeout_s = ends_at
            prober.ask([peer])
            echo._now = now
            await eventually(lambda: told == [None])

    await in_own_network(test)


def _slot_after(when: float) -> float:
    return (int(when / SLOT_S) + 1) * SLOT_S


async def test_a_peer_whom_this_host_may_not_ask_is_told_why() -> None:
    async def test() -> None:
        drop_net_raw()
        told: list[float | Exception | None] = []
        async with Prober() as prober:
            assert prober.ask([peer_at(prober, icmp(), told.append)]) == []
            assert prober.running == 0
        (trouble,) = told
        assert isinstance(trouble, Trouble)
        check(outcome_of(1, trouble), UNKNOWN, NOT_ALLOWED)

    await in_own_network(test, pings=False)


def addresses_of(name: bytes, *_: object, **__: object) -> list[tuple[object, ...]]:
    addresses = ["127.0.0.7"] if name == b"one.test" else ["127.0.0.8", "127.0.0.9"]
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]


async def expect_all(prober: Prober, probes: list[IcmpProbe]) -> None:
    outcomes: list[Outcome] = await asyncio.gather(*(prober.probe(probe) for probe in probes))
    for outcome in outcomes:
        check(outcome, UP, "ICMP reply")


@dataclass(frozen=True)
class Request:
    source: str
    target: str
    packet: bytes  # with its IP header
    ident: int
    sequence: int
    nonce: bytes


@asynccontextmanager
async def overhearing() -> AsyncIterator[Callable[[], Awaitable[Request]]]:
    """The next echo request that is sent on this network, as a raw socket sees it."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as ears:
        ears.setblocking(False)

        async def next_request() -> Request:
            while True:
                packet = await asyncio.get_running_loop().sock_recv(ears, 2048)
                kind, _, _, ident, sequence = struct.unpack_from("!BBHHH", packet, 20)
                if kind == 8:
                    source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
                    return Request(source, target, packet, ident, sequence, packet[28:36])

        yield next_request


def forge(
    request: Request,
    *,
    kind: int = 0,
    code: int = 0,
    ident: int | None = None,
    ahead: int = 0,
    nonce: bytes | None = None,
    source: str | None = None,
    cut: int = 16,
    options: bytes = b"",
    body: bytes | None = None,
) -> None:
    """Answers a request: as it should be, but for what is said. With a `body`, by an ICMP error about it."""
    if body is None:
        ident, nonce = request.ident if ident is None else ident, request.nonce if nonce is None else nonce
        body = struct.pack("!HH", ident, request.sequence + ahead) + nonce
        answer = struct.pack("!BBH", kind, code, 0) + body
    else:
        answer = struct.pack("!BBHI", kind, code, 0, 1400 if (kind, code) == (3, 4) else 0) + body
    answer = answer[:cut] if kind == 0 else answer
    total = sum(struct.unpack(f"!{(len(answer) + 1) // 2}H", answer + b"\0" * (len(answer) % 2)))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    answer = answer[:2] + struct.pack("!H", ~total & 0xFFFF) + answer[4:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as mouth:
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, options)
        mouth.bind((source or request.target, 0))
        mouth.sendto(answer, (request.source, 0))
