"""Peers that are asked by echo together, without a task for each: everybody is told once, and gives the turn back."""

import asyncio
import errno
import time

import pytest

from tests.integration.echoing import NOT_ALLOWED, icmp, peer_at, slot_after
from tests.support.network import drop_net_raw, in_own_network, set_sysctl
from tests.support.polling import eventually
from tests.support.servers import UNKNOWN, check, new_prober
from vimmon.actions.probing import Prober
from vimmon.actions.probing.echo import SLOT_S
from vimmon.actions.probing.icmp import outcome_of
from vimmon.actions.probing.reasons import Trouble


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
    ends_at = next(number * SLOT_S for number in range(1, 10_000) if slot_after(number * SLOT_S) <= number * SLOT_S)

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


async def test_no_nonce_ends_with_a_zero_which_would_complete_one_that_was_cut() -> None:
    async with Prober() as prober:
        assert all(peer_at(prober, icmp(), lambda _: None).nonce % 256 for _ in range(2000))
