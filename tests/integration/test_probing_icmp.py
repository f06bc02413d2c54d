"""What the icmp probe finds on real networks: its own loopback, links to nowhere, and hosts that forbid it to ask."""

import asyncio
import time

import pytest

from tests.integration.echoing import NOT_ALLOWED, icmp, overhearing
from tests.support.network import drop_net_raw, in_own_network, set_sysctl
from tests.support.servers import DOWN, UNKNOWN, UP, check, new_prober


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
