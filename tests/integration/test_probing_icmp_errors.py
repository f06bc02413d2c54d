"""Errors of some requests that come while others are sent or read: whose they are, and who is told."""

import asyncio
import os
import select
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.integration.echoing import Request, forge, icmp, overhearing, peer_at, socket_of
from tests.support.network import drop_net_raw, in_own_network, run, set_sysctl
from tests.support.polling import eventually
from tests.support.servers import UNKNOWN, check
from vimmon.actions.probing import Prober, volleys
from vimmon.actions.probing.echo import CHANGE_AFTER_S
from vimmon.actions.probing.echo_socket import EchoSocket
from vimmon.actions.probing.icmp import outcome_of
from vimmon.actions.probing.volleys import Volleys

Told = list[float | Exception | None]


async def asked_in_vain(
    prober: Prober, next_request: Callable[[], Awaitable[Request]], told: Callable[[float | Exception | None], None]
) -> Request:
    """One who is silent and is waited for. From now on all others reply."""
    set_sysctl("ipv4/icmp_echo_ignore_all", 1)
    prober.ask([peer_at(prober, icmp("127.0.0.2", s=30), told)])
    request = await next_request()
    set_sysctl("ipv4/icmp_echo_ignore_all", 0)
    return request


def refuse(request: Request, of: EchoSocket) -> None:
    """The error is there, and was not read."""
    forge(request, kind=3, code=3, body=request.packet)
    attention = select.poll()
    attention.register(of._socket, 0)
    assert attention.poll(5000) == [(of._socket.fileno(), select.POLLERR)]


def broken(_: object) -> None:
    raise ValueError("a bug")


def bugs_here() -> list[object]:
    bugs: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context["exception"]))
    return bugs


async def test_errors_of_others_that_come_before_each_try_to_send_are_not_this_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To send by a raw socket does not raise them."""

    async def test() -> None:
        others: Told = []
        mine: Told = []
        send_alone = Volleys.send_alone
        async with Prober() as prober, overhearing() as next_request:
            left = [await asked_in_vain(prober, next_request, others.append) for _ in range(6)]
            chosen = socket_of(prober)

            def disturbed(self: Volleys, packet: bytes, address: bytes) -> None:
                if left:
                    refuse(left.pop(), chosen)
                send_alone(self, packet, address)

            monkeypatch.setattr(Volleys, "send_alone", disturbed)
            refuse(left.pop(), chosen)
            prober.ask([peer_at(prober, icmp(), mine.append)])
            assert left == []
            assert len(others) == 6
            await eventually(lambda: mine)
        assert [type(found) for found in mine] == [float]

    await in_own_network(test)


async def test_a_bug_in_who_is_told_of_an_error_is_not_told_to_who_is_being_asked() -> None:
    async def test() -> None:
        bugs, mine = bugs_here(), list[float | Exception | None]()
        async with Prober() as prober, overhearing() as next_request:
            refuse(await asked_in_vain(prober, next_request, broken), socket_of(prober))
            prober.ask([peer_at(prober, icmp(), mine.append)])
            await eventually(lambda: mine)
            assert prober.running == 0
        assert [type(found) for found in (*mine, *bugs)] == [float, ValueError]

    await in_own_network(test)


async def test_a_bug_in_who_is_told_that_the_time_is_over_keeps_nobody_waiting_and_no_socket_open() -> None:
    async def test() -> None:
        now = time.monotonic()
        bugs, told = bugs_here(), list[float | Exception | None]()
        set_sysctl("ipv4/icmp_echo_ignore_all", 1)
        async with Prober(clock=lambda: now) as prober:
            prober.ask([peer_at(prober, icmp(s=0.1), heard) for heard in (broken, told.append)])
            files = len(os.listdir("/proc/self/fd"))
            now += CHANGE_AFTER_S
            later = peer_at(prober, icmp(s=30), told.append)
            prober.ask([later])
            await eventually(lambda: bugs)
            await eventually(lambda: prober.running == 1)
            assert len(os.listdir("/proc/self/fd")) == files
            later.cancel()
        assert told == [None]
        assert [type(bug) for bug in bugs] == [ValueError]

    await in_own_network(test)


async def test_who_is_told_of_an_error_may_ask_others_though_the_socket_is_changed_by_that() -> None:
    async def test() -> None:
        now = time.monotonic()
        bugs, told = bugs_here(), list[float | Exception | None]()
        async with Prober(clock=lambda: now) as prober, overhearing() as next_request:

            def ask_another(_: object) -> None:
                nonlocal now
                now += CHANGE_AFTER_S
                prober.ask([peer_at(prober, icmp(), told.append)])

            request, old = await asked_in_vain(prober, next_request, ask_another), socket_of(prober)
            forge(request, kind=3, code=1, body=request.packet)
            await eventually(lambda: told)
            assert socket_of(prober) is not old
            assert old._socket.fileno() < 0
        assert [type(found) for found in told] == [float]
        assert bugs == []

    await in_own_network(test)


async def test_who_is_cancelled_by_who_was_told_of_an_error_is_told_nothing_though_it_cannot_be_sent() -> None:
    async def test() -> None:
        mine: Told = []
        async with Prober() as prober, overhearing() as next_request:
            me = peer_at(prober, icmp("192.0.2.1"), mine.append)
            refuse(await asked_in_vain(prober, next_request, lambda _: me.cancel()), socket_of(prober))
            prober.ask([me])
            assert prober.running == 0
        assert mine == []

    await in_own_network(test)


async def test_who_asks_anew_at_a_reply_that_was_read_when_the_time_was_over_is_waited_for_anew() -> None:
    """More have replied than are read in one turn of the loop; the second time nobody does."""

    async def test() -> None:
        waited_s: list[float] = []
        left: list[object] = []
        async with Prober() as prober:
            asker = prober.asker(
                lambda some, _: left.extend(prober.ask(some)),
                lambda peer, _: waited_s.append(time.monotonic() - peer.sent_at),
            )
            found = [prober.peer(icmp(f"127.0.0.{number % 250 + 1}", s=0.1), asker) for number in range(300)]
            prober.ask([each[0] for each in found if each])
            set_sysctl("ipv4/icmp_echo_ignore_all", 1)
            time.sleep(0.2)  # noqa: ASYNC251 - the loop is late
            await eventually(lambda: len(waited_s) == 300)
        assert min(waited_s) >= 0.1
        assert left == []

    await in_own_network(test)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("unreachable", "this host's routes lead nowhere from here"),
        ("prohibit", "forbidden by this host's routes, or a broadcast address"),
    ],
)
async def test_what_this_hosts_routes_refuse_says_nothing_about_the_vim(kind: str, reason: str) -> None:
    async def test() -> None:
        run(f"ip route add {kind} 192.0.2.0/24")
        async with Prober() as prober:
            check(await prober.probe(icmp("192.0.2.1")), UNKNOWN, f"cannot probe: {reason}")

    await in_own_network(test)


async def test_replies_count_whose_reading_was_cut_short_after_the_time_was_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As an error cuts it that comes meanwhile."""

    async def test() -> None:
        told: Told = []
        async with Prober() as prober:
            prober.ask([peer_at(prober, icmp(f"127.0.0.{number}", s=0.1), told.append) for number in range(1, 200)])
            monkeypatch.setattr(volleys, "VOLLEY_MAX", 8)
            time.sleep(0.2)  # noqa: ASYNC251 - the loop is late
            await eventually(lambda: len(told) == 199)
        assert {type(found) for found in told} == {float}

    await in_own_network(test)


@pytest.mark.parametrize("pings", [True, False], ids=["unprivileged", "raw"])
async def test_a_buffer_that_is_full_says_nothing_about_the_vim(pings: bool) -> None:
    """Of requests to hosts of this link whose hardware addresses are not known yet."""

    async def test() -> None:
        if pings:
            drop_net_raw()
        told: Told = []
        words = "'s buffer for sending is full" if pings else " is out of memory"
        run("ip addr add 10.9.0.1/24 dev v0")
        set_sysctl("ipv4/neigh/v0/retrans_time_ms", 1000)
        async with Prober() as prober:
            prober.ask([peer_at(prober, icmp(), lambda _: None)])
            socket_of(prober)._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            prober.ask([peer_at(prober, icmp(f"10.9.0.{number}", s=30), told.append) for number in range(2, 102)])
            assert told
            for error in told:
                assert isinstance(error, OSError)
                check(outcome_of(30, error), UNKNOWN, f"cannot probe: this host{words}")

    await in_own_network(test, pings=pings)
