"""When a reply came, whenever it is read; and replies that come one by one while many wait, which are read together."""

import asyncio
import socket
import time

import pytest

from tests.integration.echoing import icmp, peer_at, socket_of
from tests.support.network import in_own_network, set_sysctl
from tests.support.polling import eventually
from tests.support.servers import UP, check
from vimmon.actions.probing import Prober, echo_socket
from vimmon.actions.probing.echo import CHANGE_AFTER_S
from vimmon.actions.probing.echo_opening import SO_TIMESTAMPNS
from vimmon.actions.probing.echo_socket import CROWD, FEW, REPLY_BYTES

Told = list[float | Exception | None]
LATE_S = 0.1


def wait_in_vain(prober: Prober, count: int, told: Told) -> None:
    """So many are silent. Who is asked after them replies."""
    set_sysctl("ipv4/icmp_echo_ignore_all", 1)
    prober.ask([peer_at(prober, icmp(f"127.0.1.{number}", s=60), told.append) for number in range(1, count + 1)])
    set_sysctl("ipv4/icmp_echo_ignore_all", 0)


async def some_turns() -> None:
    """Enough for the loop to hear of what has come already."""
    for _ in range(5):
        await asyncio.sleep(0)


async def ask(prober: Prober, host: str, told: Told) -> None:
    """It replies at once, and the loop has turned since."""
    prober.ask([peer_at(prober, icmp(host, s=60), told.append)])
    await some_turns()


async def longest_rtt_s(prober: Prober, host: str) -> float:
    """Of two replies that are read together, each LATE_S after it came, or later."""
    told: Told = []
    for _ in range(2):
        prober.ask([peer_at(prober, icmp(host, s=20), told.append)])
        time.sleep(LATE_S)  # noqa: ASYNC251 - the loop is late
    await eventually(lambda: len(told) == 2)
    return max(rtt_s for rtt_s in told if isinstance(rtt_s, float))


async def stamped(prober: Prober, host: str) -> None:
    """It takes a moment from the first socket that wants it: until then the kernel stamps what it hands out."""
    tries_left = 50
    while await longest_rtt_s(prober, host) >= LATE_S:
        tries_left -= 1
        assert tries_left, "a reply took until it was read"


@pytest.mark.parametrize("pings", [True, False], ids=["datagram", "raw"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_reply_that_is_read_late_took_no_longer(host: str, *, pings: bool) -> None:
    async def test() -> None:
        async with Prober() as prober:
            await stamped(prober, host)
            assert 0 < await longest_rtt_s(prober, host) < LATE_S

    await in_own_network(test, pings=pings)


async def test_what_a_probe_tells_is_when_the_reply_came() -> None:
    async def test() -> None:
        async with Prober() as prober:
            await stamped(prober, "127.0.0.1")
            probing = asyncio.ensure_future(prober.probe(icmp(s=20)))
            await asyncio.sleep(0)  # it begins
            time.sleep(LATE_S)  # noqa: ASYNC251 - the loop is late
            outcome = await probing
            check(outcome, UP, "ICMP reply")
            assert outcome.rtt_ms is not None
            assert outcome.rtt_ms < LATE_S * 1000

    await in_own_network(test)


async def test_a_reply_that_came_without_a_stamp_took_until_it_was_read_and_the_next_one_no_longer() -> None:
    async def test() -> None:
        async with Prober() as prober:
            await stamped(prober, "127.0.0.1")
            of = socket_of(prober)._socket
            of.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 0)
            assert LATE_S <= await longest_rtt_s(prober, "127.0.0.1") < 20
            of.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            await stamped(prober, "127.0.0.1")

    await in_own_network(test)


@pytest.mark.parametrize("set_by_s", [-3600, -LATE_S / 2, LATE_S / 2, 3600])
async def test_a_reply_took_until_it_was_read_when_the_clock_was_set_meanwhile(set_by_s: float) -> None:
    async def test() -> None:
        told: Told = []
        async with Prober() as prober:
            prober.ask([peer_at(prober, icmp(s=20), told.append)])
            time.sleep(LATE_S)  # noqa: ASYNC251 - the loop is late
            socket_of(prober)._day_clock = lambda: time.time() + set_by_s
            await eventually(lambda: told)
            (rtt_s,) = told
            assert isinstance(rtt_s, float)
            assert LATE_S <= rtt_s < 20

    await in_own_network(test)


async def test_replies_that_come_one_by_one_while_many_wait_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo_socket, "PAUSE_S", 3600)

    async def test() -> None:
        told: Told = []
        async with Prober() as prober:
            wait_in_vain(prober, CROWD, told)
            await ask(prober, "127.0.2.1", told)
            assert len(told) == 1, "those that wait are no more than wait often"
            wait_in_vain(prober, 1, told)
            for number in range(2, 6):
                await ask(prober, f"127.0.2.{number}", told)
            assert len(told) == 2, "after the first the loop did not wake"
            prober.read_replies()
            assert len(told) == 5
            assert all(isinstance(rtt_s, float) and 0 < rtt_s < 1 for rtt_s in told)

    await in_own_network(test)


async def test_what_came_under_an_old_id_is_read_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo_socket, "PAUSE_S", 3600)

    async def test() -> None:
        told: Told = []
        now = time.monotonic()
        async with Prober(clock=lambda: now) as prober:
            wait_in_vain(prober, CROWD + 1, told)
            await ask(prober, "127.0.2.1", told)
            prober.ask([peer_at(prober, icmp("127.0.2.2", s=60), told.append)])
            now += CHANGE_AFTER_S
            prober.ask([peer_at(prober, icmp("127.0.2.3", s=60), told.append)])
            prober.read_replies()
            assert len(told) == 3

    await in_own_network(test)


async def test_what_came_while_nobody_listened_is_heard_after_the_pause() -> None:
    async def test() -> None:
        told: Told = []
        async with Prober() as prober:
            wait_in_vain(prober, CROWD + 1, told)
            for number in range(1, 4):
                await ask(prober, f"127.0.2.{number}", told)
            await eventually(lambda: len(told) == 3)

    await in_own_network(test)


async def test_who_awaits_a_reply_hears_it_while_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo_socket, "PAUSE_S", 3600)

    async def test() -> None:
        told: Told = []
        async with Prober() as prober:
            wait_in_vain(prober, CROWD + 1, told)
            await ask(prober, "127.0.2.1", told)
            assert len(told) == 1, "now nobody listens"
            async with asyncio.timeout(20):
                check(await prober.probe(icmp("127.0.2.2", s=60)), UP, "ICMP reply")
            await ask(prober, "127.0.2.3", told)
            assert len(told) == 2
            await ask(prober, "127.0.2.4", told)
            assert len(told) == 2, "nobody listens again"

    await in_own_network(test)


async def test_the_loop_listens_while_so_many_wait_that_their_replies_may_not_fit_into_the_buffer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(echo_socket, "PAUSE_S", 3600)

    async def test() -> None:
        told: Told = []

        async with Prober() as prober:
            wait_in_vain(prober, CROWD + 1, told)
            of = socket_of(prober)
            assert of._crowd_max == of._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // REPLY_BYTES
            of._crowd_max = CROWD + 4
            for number in range(3):
                await ask(prober, f"127.0.2.{number + 1}", told)
            assert len(told) == 1, "they would fit"
            wait_in_vain(prober, 4, told)
            await some_turns()
            assert len(told) == 3, "more might not"
            assert of._pause is None
            for number in range(3):
                await ask(prober, f"127.0.2.{number + 4}", told)
            assert len(told) == 6

    await in_own_network(test)


async def test_many_replies_that_come_together_are_read_at_once_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo_socket, "PAUSE_S", 3600)

    async def test() -> None:
        told: Told = []
        count = 600 + FEW
        async with Prober() as prober:
            wait_in_vain(prober, CROWD + 1, told)
            for first in range(0, count, 200):
                some = range(first, min(count, first + 200))
                prober.ask([peer_at(prober, icmp(f"127.0.{3 + i // 200}.{i % 200 + 1}"), told.append) for i in some])
            await some_turns()
            assert len(told) == count

    await in_own_network(test)


async def test_who_replied_during_a_pause_is_not_told_that_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo_socket, "PAUSE_S", 3600)

    async def test() -> None:
        silent: Told = []
        told: Told = []
        async with Prober() as prober:
            wait_in_vain(prober, CROWD + 1, silent)
            await ask(prober, "127.0.2.1", told)
            prober.ask([peer_at(prober, icmp("127.0.2.2", s=0.1), told.append)])
            await eventually(lambda: len(told) == 2)
            assert all(isinstance(rtt_s, float) for rtt_s in told)
        assert silent == []

    await in_own_network(test)


async def test_a_prober_can_be_closed_while_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo_socket, "PAUSE_S", 0.05)

    async def test() -> None:
        told: Told = []
        bugs: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))
        async with Prober() as prober:
            wait_in_vain(prober, CROWD + 1, told)
            prober.ask([peer_at(prober, icmp("127.0.2.1", s=60), told.append)])
            await eventually(lambda: told)
        await asyncio.sleep(0.1)  # the pause would be over
        assert bugs == []

    await in_own_network(test)
