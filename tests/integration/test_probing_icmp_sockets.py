"""The socket that icmp probes share: its numbers and its id, many replies at once, and replies that are read late."""

import asyncio
import os
import time

from tests.integration.echoing import expect_all, forge, icmp, overhearing, peer_at
from tests.support.descriptors import no_more_files
from tests.support.network import in_own_network, set_sysctl
from tests.support.servers import DOWN, UP, check, new_prober
from vimmon.actions.probing import Prober
from vimmon.actions.probing.echo import CHANGE_AFTER_S


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


async def test_an_old_id_is_kept_while_this_process_may_open_no_file_for_another() -> None:
    async def test() -> None:
        now = time.monotonic()
        async with Prober(clock=lambda: now) as prober:
            check(await prober.probe(icmp()), UP, "ICMP reply")
            (first,) = prober._shared.echo._current.values()
            now += CHANGE_AFTER_S
            with no_more_files():
                check(await prober.probe(icmp()), UP, "ICMP reply")
                assert [*prober._shared.echo._current.values()] == [first]
            check(await prober.probe(icmp()), UP, "ICMP reply")
            assert first not in prober._shared.echo._current.values()

    await in_own_network(test)


async def test_a_burst_of_replies_is_not_dropped() -> None:
    async def test() -> None:
        async with new_prober() as prober:
            await expect_all(prober, [icmp(f"127.0.{i // 250}.{i % 250 + 1}", s=10) for i in range(3000)])

    await in_own_network(test)


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
