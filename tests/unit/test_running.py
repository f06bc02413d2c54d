"""The probes that run: one of each VIM, and what is cancelled takes nothing of its successor with it."""

import asyncio

from vimmon.actions.running import Running


async def test_a_probe_runs_until_it_has_ended() -> None:
    running, end = Running(), asyncio.Event()

    async def probe() -> None:
        await end.wait()

    running.start("v", probe())
    assert "v" in running
    assert len(running) == 1
    end.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert "v" not in running


async def test_one_that_is_cancelled_slowly_does_not_take_the_next_one_off_the_list() -> None:
    running, cancelled, end = Running(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        try:
            await end.wait()
        finally:
            cancelled.set()

    running.start("v", slow())
    await asyncio.sleep(0)
    running.cancel("v")
    assert "v" not in running
    running.start("v", slow())
    await cancelled.wait()
    await asyncio.sleep(0)
    assert "v" in running
    await running.end()
    assert "v" not in running


async def test_at_the_end_all_have_ended() -> None:
    running, ended = Running(), []

    async def probe(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    for name in "abc":
        running.start(name, probe(name))
    await asyncio.sleep(0)
    await running.end()
    assert ended == ["a", "b", "c"]
