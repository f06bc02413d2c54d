"""When the time of a probe is over: it leaves no timer behind, and gives no more time again than allowed."""

import asyncio
import time
from typing import Any

import pytest

from vimmon.actions.probing import deadline
from vimmon.actions.probing.deadline import TURNS, Deadline


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_ended_in_time_hears_nothing_of_its_deadline() -> None:
    loop, wrong = asyncio.get_running_loop(), list[Any]()
    loop.set_exception_handler(lambda _, context: wrong.append(context))
    async with Deadline(loop.time()):
        await turns(2)  # its end has been told
    async with Deadline(loop.time() + 0.001) as later:
        assert later._handle is not None
    assert later._handle is None
    await turns(2 * TURNS)
    assert wrong == []


@pytest.mark.parametrize("when", [None, 60.0])
async def test_a_deadline_that_is_put_off_does_not_end_when_it_would_have(when: float | None) -> None:
    loop = asyncio.get_running_loop()
    async with Deadline(loop.time()) as put_off:
        put_off.reschedule(None if when is None else loop.time() + when)
        await turns(3 * TURNS)


async def test_of_the_time_that_was_lost_no_more_is_given_again_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "AGAIN_MAX_S", 2.0)
    loop = asyncio.get_running_loop()
    for late_s, again_s in ((1.0, 1.0), (100.0, 2.0)):
        async with Deadline(None) as held_up:
            held_up._is_over(loop.time() - late_s)
            assert isinstance(held_up._handle, asyncio.TimerHandle)
            assert held_up._handle.when() - loop.time() == pytest.approx(again_s, abs=0.3)


async def test_what_has_arrived_by_the_end_has_some_turns_until_its_conclusion_is_drawn() -> None:
    async with Deadline(asyncio.get_running_loop().time()):
        await turns(TURNS)


async def test_a_little_late_is_not_late() -> None:
    async def be_late() -> None:
        async with Deadline(None) as ends:
            ends._is_over(asyncio.get_running_loop().time() - deadline.LATE_S / 2)
            await turns(3 * TURNS)

    with pytest.raises(TimeoutError):
        await be_late()


async def test_the_time_that_was_lost_is_given_again_once() -> None:
    async def be_held_up() -> None:
        async with Deadline(asyncio.get_running_loop().time() + 0.05):
            for held_up_s in (0.25, 0.4, 0.4):  # 0.2 s late, again and again
                time.sleep(held_up_s)  # noqa: ASYNC251 - the loop is late
                for _ in range(20):
                    await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        await be_held_up()
