"""The bulk reading of leases, on a real Redis."""

import asyncio

from redis import Redis

from vimmon.actions.checks import read_leases
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
    assert await read_leases(line, keys, ["a", "b", "c"]) == [
        ("a", b"7:a\xff", None),
        ("b", b"seven", b"7:12:REACHABLE:h"),
        ("c", None, None),
    ]
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
    assert await read_leases(line, keys, ["b"]) == [("b", b"2:b", None)]
    await client.aclose()
