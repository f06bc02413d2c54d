"""Which replies and errors the icmp probe believes: each is forged here, with one thing wrong."""

import asyncio
from typing import Any

import pytest

from tests.integration.echoing import forge, icmp, overhearing
from tests.support.network import in_own_network, set_sysctl
from tests.support.servers import DOWN, UP, check, new_prober


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
