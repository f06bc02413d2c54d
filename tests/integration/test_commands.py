"""Commands that a conductor sends in one go."""

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tests.chaos.shears import Shears, the
from tests.chaos.valve import Valve
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer
from vimmon.lease.commands import Commands, ask
from vimmon.lease.connection import AWAY, alone, connect
from vimmon.settings import Settings


def client_of(url: str) -> Redis:
    return connect(Settings.model_validate({"redis_url": url}))


def test_each_is_answered_in_its_place_and_one_that_is_refused_stops_none_behind_it(redis: Redis) -> None:
    commands = Commands(redis)
    commands.add("SET", "text", b"\x00\xff")
    commands.add("RPUSH", "text", "no list")
    commands.add("GET", "text")
    ok, refused, value = commands.run()
    assert (ok, value) == (b"OK", b"\x00\xff")
    assert isinstance(refused, ResponseError)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        ask(redis, "RPUSH", "text", "no list")
    assert ask(redis, "GET", "text") == b"\x00\xff"


def test_what_is_done_meanwhile_is_done_while_redis_works_and_when_it_is_away(redis: Redis) -> None:
    done: list[str] = []
    commands = Commands(redis)
    commands.add("BLPOP", "list", 10)
    with Redis.from_url(f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}") as other:
        answer = commands.run(lambda: done.append(str(other.rpush("list", "x"))))
    assert (answer, done) == ([[b"list", b"x"]], ["1"])
    away = Commands(client_of(f"redis://127.0.0.1:{free_port()}/0"))
    away.add("PING")
    with pytest.raises(AWAY):
        away.run(lambda: done.append("away"))
    assert Commands(redis).run(lambda: done.append("nothing to send")) == []
    assert done == ["1", "away", "nothing to send"]


@pytest.mark.parametrize("keeping", [False, True], ids=["a pool", "one that is kept"])
def test_after_trouble_no_answer_is_taken_for_that_of_another_command(
    redis: Redis, redis_server: RedisServer, keeping: bool
) -> None:
    client = client_of(redis_server.url)
    client = alone(client) if keeping else client
    commands = Commands(client)
    commands.add("ECHO", "first")

    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        commands.run(fails)
    assert ask(client, "ECHO", "second") == b"second"


@pytest.mark.parametrize("keeping", [False, True], ids=["a pool", "one that is kept"])
def test_a_connection_that_is_cut_is_made_anew_and_nothing_is_sent_twice(
    redis: Redis, redis_server: RedisServer, keeping: bool
) -> None:
    with Valve(redis_server.port) as valve, client_of(valve.redis_url) as client:
        mine = alone(client) if keeping else client
        assert ask(mine, "PING") == b"PONG"
        valve.shears = Shears("answer", the(1))
        with pytest.raises(AWAY):
            ask(mine, "INCR", "number")
        valve.shears = None
        assert ask(mine, "INCR", "number") == 2
        assert keeping == (mine.connection is not None)
