"""A Redis that answers a command twice, as 7.0 does where CLIENT UNBLOCK meets CLIENT PAUSE: on that connection every
answer from then on would be taken for that of another command."""

import asyncio
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.exceptions import InvalidResponse, ResponseError

from tests.integration.bench import Bench
from tests.support.polling import eventually, until
from vimmon.actions.connection import Line
from vimmon.actions.connection import connect as connect_in_loop
from vimmon.conductor.requests import RequestList
from vimmon.embedded.redis import RedisServer
from vimmon.lease.commands import Commands, ask
from vimmon.lease.connection import alone, connect
from vimmon.settings import Settings


@pytest.fixture
def settings(redis_server: RedisServer) -> Settings:
    return Settings.model_validate({"redis_url": redis_server.url})


def pause(redis: Redis) -> None:
    """Whatever writes has to wait."""
    redis.client_pause(30_000, all=False)


@pytest.fixture
def paused(redis: Redis) -> Iterator[Redis]:
    pause(redis)
    yield redis
    redis.client_unpause()


def waiting(redis: Redis) -> list[int]:
    return [int(client["id"]) for client in redis.client_list() if "b" in client["flags"]]


def break_off(redis: Redis) -> None:
    """Answers the one that waits with an error; then it is carried out all the same, and answered again."""
    until(lambda: waiting(redis))
    (number,) = waiting(redis)
    redis.client_unblock(number, error=True)
    redis.client_unpause()


@pytest.mark.parametrize("keeping", [False, True], ids=["a pool", "one that is kept"])
def test_of_a_conductor_none_is_taken_for_that_of_another_command(
    paused: Redis, settings: Settings, keeping: bool
) -> None:
    with connect(settings) as client:
        mine = alone(client) if keeping else client
        commands = Commands(mine)
        commands.add("INCR", "number")
        (refused,) = commands.run(lambda: break_off(paused))
        assert isinstance(refused, ResponseError)
        assert [ask(mine, "ECHO", word) for word in ("a", "b")] == [b"a", b"b"]


def test_of_a_taking_nothing_is_believed_and_the_next_one_takes(bench: Bench, redis: Redis, settings: Settings) -> None:
    """For what it was taken, the request list was of another type, and deleted."""
    with connect(settings) as client:
        its_own = alone(client)
        taking, commands = RequestList(its_own, bench.keys, bench.conductor_id), Commands(its_own)
        taken = taking.queue_take(commands, 10, block_s=0.1)
        bench.push(b"1")
        pause(redis)
        results = commands.run(lambda: break_off(redis))
        with pytest.raises(InvalidResponse):
            taking.taken(taken, results)
        until(lambda: redis.lrange(taken, 0, -1) == [b"1"])
        bench.push(b"2")
        assert taking.mend() == []
        batch = taking.take(10, block_s=1)
    assert batch is not None
    assert batch.requests == (b"2",)


async def test_of_an_executor_none_is_taken_for_that_of_another_command(paused: Redis, settings: Settings) -> None:
    async with connect_in_loop(settings) as client:
        line = Line(client)
        listening = asyncio.create_task(line.ask("BLMPOP", 3, 1, "list", "LEFT"))
        await eventually(lambda: waiting(paused))
        break_off(paused)
        with pytest.raises(ResponseError, match="UNBLOCKED"):
            await listening
        reading = asyncio.create_task(line.ask("ECHO", "mine"))
        await asyncio.sleep(0)
        paused.rpush("list", "another's")
        assert await reading == b"mine"
