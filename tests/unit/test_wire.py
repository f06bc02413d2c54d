"""What a probe's way keeps account of: the time of each phase, what is no fault of the VIM, what addresses it tries."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from vimmon.actions.probing.reasons import Trouble
from vimmon.actions.probing.resolver import Address
from vimmon.actions.probing.shortlist import TRIED_MAX, Shortlist
from vimmon.actions.probing.wire import Wire
from vimmon.probes import TcpProbe, Trace

TWO = [Address(socket.AF_INET, (f"192.0.2.{number}", 5000)) for number in (1, 2)]
PHASES = ("name", "connect", "tls", "answer")


class Clock:
    """The prober's, and the loop's."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def begun(clock: Clock, trace: Trace | None) -> Wire:
    shared: Any = SimpleNamespace(loop=clock, clock=clock.time)
    return Wire(TcpProbe(auth_url="http://192.0.2.1:5000", timeout_s=5), shared, trace)


def test_each_phase_begins_where_the_one_before_ended(clock: Clock) -> None:
    trace = Trace()
    mine = begun(clock, trace)
    for phase, lasted_s in zip(PHASES, (1, 2, 4, 8), strict=True):
        clock.now += lasted_s
        mine.ended(phase)
    assert (trace.name_ms, trace.connect_ms, trace.tls_ms, trace.answer_ms) == (1000, 2000, 4000, 8000)


def test_a_second_look_is_not_counted_and_what_follows_it_begins_after_it(clock: Clock) -> None:
    trace = Trace()
    mine = begun(clock, trace)
    for lasted_s in (1, 2):
        clock.now += lasted_s
        mine.ended("connect")
    assert trace.connect_ms == 1000
    clock.now += 4
    mine.ended("tls")
    assert trace.tls_ms == 4000


def test_of_the_phases_that_were_not_ended_the_first_is_told_with_how_long_it_lasted(clock: Clock) -> None:
    trace = Trace()
    mine = begun(clock, trace)
    clock.now += 1
    mine.ended("name")
    clock.now += 2
    mine.stopped(PHASES)
    assert (trace.unfinished, trace.unfinished_ms) == ("connect", 2000)


def test_where_all_phases_were_ended_none_is_told(clock: Clock) -> None:
    trace = Trace()
    mine = begun(clock, trace)
    mine.ended("name")
    mine.stopped(("name",))
    assert (trace.unfinished, trace.unfinished_ms) == (None, None)


def test_time_that_stands_still_counts_for_no_phase_and_not_against_the_vim(clock: Clock) -> None:
    trace = Trace()
    mine = begun(clock, trace)
    clock.now += 1
    with contextlib.suppress(ZeroDivisionError), mine.paused():
        clock.now += 60
        raise ZeroDivisionError
    assert (mine.paused_s, mine.ends_at, mine.left_s) == (60, 165, 4)
    with mine.paused():
        clock.now += 10
    clock.now += 2
    mine.ended("name")
    assert (mine.paused_s, mine.left_s, trace.name_ms) == (70, 2, 3000)
    clock.now += 30
    assert mine.left_s == 0


def test_without_a_trace_nothing_is_noted(clock: Clock) -> None:
    mine = begun(clock, None)
    mine.ended("name")
    mine.stopped(PHASES)
    assert mine.trace is None


async def test_what_stands_still_for_longer_than_the_probe_has_does_not_end_it() -> None:
    loop = asyncio.get_running_loop()
    shared: Any = SimpleNamespace(loop=loop, clock=loop.time)
    mine = Wire(TcpProbe(auth_url="http://192.0.2.1:5000", timeout_s=0.1), shared, None)
    async with mine.within():
        with mine.paused():
            await asyncio.sleep(0.15)
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with mine.within():
            await asyncio.sleep(30)
    assert mine.left_s == 0


def in_this_loop(timeout_s: float) -> Wire:
    loop = asyncio.get_running_loop()
    shared: Any = SimpleNamespace(loop=loop, clock=loop.time, shortlist=Shortlist())
    return Wire(TcpProbe(auth_url="http://two.test:5000", timeout_s=timeout_s), shared, None)


@pytest.mark.parametrize(("number", "whose"), [(errno.ECONNREFUSED, TimeoutError), (errno.EMFILE, Trouble)])
async def test_a_time_that_is_over_is_this_hosts_trouble_only_where_it_was_short_of_something(
    number: int, whose: type[Exception]
) -> None:
    mine = in_this_loop(0.1)

    async def attempt(address: Address) -> None:
        if address is TWO[0]:
            raise OSError(number, "the first fails")
        await asyncio.sleep(30)

    with pytest.raises(whose):
        async with mine.within():
            await mine.first(TWO, attempt, lambda _: None)


async def test_what_this_host_was_short_of_is_no_trouble_any_more_once_another_address_has_answered() -> None:
    mine = in_this_loop(0.1)

    async def attempt(address: Address) -> Address:
        if address is TWO[0]:
            raise OSError(errno.EMFILE, "the first fails")
        return address

    async def connect_and_wait() -> None:
        async with mine.within():
            assert await mine.first(TWO, attempt, lambda _: None) is TWO[1]
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        await connect_and_wait()


async def test_which_addresses_of_a_family_were_tried_says_nothing_of_another_family() -> None:
    four, six = (
        [Address(family, (form.format(host), 5000)) for host in range(1, 20)]
        for family, form in ((socket.AF_INET, "192.0.2.{}"), (socket.AF_INET6, "2001:db8::{}"))
    )

    async def addresses(*_: object) -> Sequence[Address]:
        return [*four, *six]

    loop = asyncio.get_running_loop()
    shared: Any = SimpleNamespace(
        loop=loop, clock=loop.time, shortlist=Shortlist(), resolver=SimpleNamespace(addresses=addresses)
    )
    tried = [
        await Wire(TcpProbe(auth_url="http://many.test:5000", ip_family=version), shared, None).resolve()
        for version in ("4", "6", "4")
    ]
    assert tried == [four[:TRIED_MAX], six[:TRIED_MAX], four[TRIED_MAX : 2 * TRIED_MAX]]
