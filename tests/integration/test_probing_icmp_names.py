"""icmp probes of names, which may have several addresses."""

import asyncio
import errno
import gc
import time

import pytest

from tests.integration.echoing import addresses_of, expect_all, icmp
from tests.support.network import in_own_network, run
from tests.support.servers import DOWN, UNKNOWN, UP, check, new_prober
from vimmon.actions.probing import Prober
from vimmon.actions.probing.echo import SLOT_S
from vimmon.actions.probing.icmp import _forget
from vimmon.actions.probing.resolver import Resolver
from vimmon.probes import IcmpProbe, IpFamily, Trace


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
