"""The probes that run: one of each VIM, and what is cancelled takes nothing of its successor with it."""

import asyncio

from vimmon.actions.running import Running
from vimmon.probes import Outcome
from vimmon.vim import VimStatus

UP = Outcome(status=VimStatus.REACHABLE, reason="connected in 1 ms")


async def steps() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_probe_runs_until_it_has_ended_and_its_outcome_is_told() -> None:
    running, end, told = Running(), asyncio.Event(), list[Outcome | Exception]()

    async def probe() -> Outcome:
        await end.wait()
        return UP

    running.start("v", probe, told.append)
    assert "v" in running
    assert len(running) == 1
    end.set()
    await steps()
    assert "v" not in running
    assert told == [UP]


async def test_a_bug_is_told_and_one_that_lets_it_not_even_begin_too() -> None:
    running, told = Running(), list[Outcome | Exception]()
    early, late = ValueError("early"), ValueError("late")

    def begin() -> asyncio.Future[Outcome]:
        raise early

    async def probe() -> Outcome:
        raise late

    running.start("v", begin, told.append)
    running.start("w", probe, told.append)
    await steps()
    assert set(told) == {early, late}
    assert len(running) == 0


async def test_one_that_is_cancelled_slowly_tells_nothing_and_does_not_take_the_next_one_off_the_list() -> None:
    running, cancelled, told = Running(), asyncio.Event(), list[Outcome | Exception]()

    async def slow() -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
        return UP

    running.start("v", slow, told.append)
    await asyncio.sleep(0)
    running.cancel("v")
    assert "v" not in running
    running.start("v", slow, told.append)
    await cancelled.wait()
    await steps()
    assert "v" in running
    assert told == []
    await running.end()


async def test_at_the_end_all_have_ended_and_tell_nothing() -> None:
    running, ended, told = Running(), list[str](), list[Outcome | Exception]()

    async def probe(name: str) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)
        return UP

    for name in "abc":
        running.start(name, lambda name=name: probe(name), told.append)  # type: ignore[misc]  # mypy cannot infer it
    await asyncio.sleep(0)
    await running.end()
    assert ended == ["a", "b", "c"]
    assert told == []
