"""The bulk reading of leases, on a real Redis."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis import Redis

from vimmon.actions.checks import BULK, Checks, Read, read_leases
from vimmon.actions.connection import Line, connect
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.settings import Settings

TURNS = 20  # of the loop, in which a command goes out and an answer would be waited for


async def test_what_is_read_is_given_as_it_is_and_another_type_counts_as_missing(
    redis_server: RedisServer, redis: Redis, keys: Keys
) -> None:
    client = connect(Settings.model_validate({"redis_url": redis_server.url}))
    line = Line(client)
    redis.set(keys.lease("a"), b"7:a\xff")
    redis.set(keys.lease("b"), b"seven")
    redis.set(keys.status("b"), b"7:12:REACHABLE:h")
    redis.rpush(keys.lease("c"), "of another type")
    leases, statuses = [b"7:a\xff", b"seven", None], [None, b"7:12:REACHABLE:h", None]
    assert await read_leases(line, keys, ["a", "b", "c"]) == [*leases, *statuses]
    await client.aclose()


async def test_an_answer_that_nobody_waits_for_any_more_is_not_taken_for_the_next_one(
    redis_server: RedisServer, redis: Redis, keys: Keys
) -> None:
    client = connect(Settings.model_validate({"redis_url": redis_server.url}))
    line = Line(client)
    redis.set(keys.lease("a"), "1:a")
    redis.set(keys.lease("b"), "2:b")
    await line.ask("PING")
    redis.client_pause(100)
    reading = asyncio.create_task(read_leases(line, keys, ["a"]))
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert not reading.done()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert await read_leases(line, keys, ["b"]) == [b"2:b", None]
    await client.aclose()


# What is expected


VIM_IDS = [f"vim-{number:04}" for number in range(BULK + 3)]  # more than are read at once


def lease_of(vim_id: str) -> bytes:
    return f"7:{vim_id}".encode()


def status_of(vim_id: str) -> bytes:
    return f"7:12:REACHABLE:{vim_id}".encode()


@pytest.fixture
async def checks(redis_server: RedisServer, redis: Redis, keys: Keys) -> AsyncIterator[Checks]:
    """Of VIM_IDS, all of which have what is expected of them. They are due whenever the test says so."""
    client = connect(Settings.model_validate({"redis_url": redis_server.url}))
    made = Checks(client, keys, interval_s=0.06, rng=random.Random(7))
    for vim_id in VIM_IDS:
        redis.mset({keys.lease(vim_id): lease_of(vim_id), keys.status(vim_id): status_of(vim_id)})
        made.expect(vim_id, lease_of(vim_id), status_of(vim_id))
    yield made
    await client.aclose()


async def now_due(checks: Checks) -> list[Read]:
    checks._owed.update(VIM_IDS)
    found = await checks.due()
    assert (checks.owed, checks.read) == (0, len(VIM_IDS))
    return found


async def test_what_is_as_expected_is_not_given(checks: Checks) -> None:
    assert await now_due(checks) == []


@pytest.mark.parametrize("vim_id", [VIM_IDS[0], VIM_IDS[-1]])
async def test_what_is_not_as_expected_is_given_alone(checks: Checks, redis: Redis, keys: Keys, vim_id: str) -> None:
    redis.set(keys.lease(vim_id), b"8:-")
    assert await now_due(checks) == [(vim_id, b"8:-", status_of(vim_id))]
    redis.delete(keys.lease(vim_id))
    assert await now_due(checks) == [(vim_id, None, status_of(vim_id))]
    redis.set(keys.lease(vim_id), lease_of(vim_id))
    redis.set(keys.status(vim_id), b"")
    assert await now_due(checks) == [(vim_id, lease_of(vim_id), b"")]


async def test_what_is_not_as_expected_is_given_of_all_that_were_read(checks: Checks, redis: Redis, keys: Keys) -> None:
    redis.mset({keys.lease(vim_id): b"8:-" for vim_id in VIM_IDS})
    assert sorted(await now_due(checks)) == [(vim_id, b"8:-", status_of(vim_id)) for vim_id in VIM_IDS]


async def test_of_whom_nothing_is_expected_all_is_given_also_what_is_missing(
    checks: Checks, redis: Redis, keys: Keys
) -> None:
    first, second, *_ = VIM_IDS
    checks.expect_nothing(first)
    checks.expect_nothing(first)
    assert await now_due(checks) == [(first, lease_of(first), status_of(first))]
    checks.remove(second)
    redis.delete(keys.lease(first), keys.status(first), keys.lease(second), keys.status(second))
    assert sorted(await now_due(checks)) == [(first, None, None), (second, None, None)]
    checks.expect(first, b"", b"")
    assert sorted(await now_due(checks)) == [(first, None, None), (second, None, None)]


async def test_what_is_expected_when_redis_has_answered_counts(checks: Checks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor that has something to say, or leaves, while the answer is on its way is looked at."""
    ask = checks._line.ask

    async def asked(*words: Any) -> Any:
        answer = await ask(*words)
        checks.expect_nothing(VIM_IDS[-1])
        return answer

    monkeypatch.setattr(checks._line, "ask", asked)
    assert [vim_id for vim_id, *_ in await now_due(checks)] == [VIM_IDS[-1]]
