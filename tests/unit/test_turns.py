"""Turns: never more than there are, in the order of asking, and none is ever lost."""

import asyncio

from vimmon.actions.probing.turns import Turns


async def test_who_waits_gets_a_turn_in_the_order_of_asking_and_nobody_comes_in_between() -> None:
    turns, order = Turns(1), []

    async def want(name: str) -> None:
        await turns.take()
        order.append(name)

    await turns.take()
    waiting = [asyncio.create_task(want(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert (turns.running, turns.waiting) == (1, 3)
    for _ in waiting:
        turns.give_back()
        assert not turns.take_now()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert order == ["a", "b", "c"]
    turns.give_back()
    assert (turns.running, turns.waiting) == (0, 0)
    assert turns.take_now()


async def test_a_turn_that_comes_together_with_a_cancellation_goes_to_the_next() -> None:
    turns = Turns(1)
    await turns.take()
    first, second = (asyncio.create_task(turns.take()) for _ in range(2))
    await asyncio.sleep(0)
    turns.give_back()
    first.cancel()
    await asyncio.wait_for(second, 5)
    assert (turns.running, turns.waiting) == (1, 0)


async def test_one_who_was_cancelled_while_waiting_is_passed_over() -> None:
    turns = Turns(1)
    await turns.take()
    first, second = (asyncio.create_task(turns.take()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    assert turns.waiting == 1
    turns.give_back()
    await asyncio.wait_for(second, 5)
    turns.give_back()
    assert turns.running == 0


async def test_several_are_taken_at_once_but_no_more_than_there_are() -> None:
    turns = Turns(5)
    assert turns.take_up_to(3) == 3
    assert turns.take_up_to(3) == 2
    assert turns.take_up_to(1) == 0
    assert turns.running == 5
    turns.give_back()
    assert turns.take_up_to(0) == 0
    assert turns.take_now()


async def test_several_given_back_at_once_go_to_those_who_wait_first() -> None:
    turns = Turns(3)
    assert turns.take_up_to(3) == 3
    waiting = [asyncio.create_task(turns.take()) for _ in range(2)]
    await asyncio.sleep(0)
    turns.give_back(3)
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert (turns.running, turns.waiting) == (2, 0)
    turns.give_back(2)
    assert turns.running == 0
