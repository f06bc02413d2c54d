"""Connections that are kept: of a conductor for one thread, of an executor for one task."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.support.polling import eventually, until
from vimmon.actions import connection
from vimmon.actions.connection import Line
from vimmon.actions.connection import connect as connect_in_loop
from vimmon.embedded.process import Child, free_port
from vimmon.embedded.redis import RedisServer, find_redis_server
from vimmon.lease.connection import AWAY, alone, connect
from vimmon.settings import Settings


def test_a_connection_of_its_own_is_kept_and_is_made_anew_after_it_was_lost(
    redis: Redis, redis_server: RedisServer
) -> None:
    client = connect(Settings.model_validate({"redis_url": redis_server.url}))
    kept = alone(client)
    first = kept.client_id()
    client.ping()
    assert kept.client_id() == first
    redis.client_kill_filter(_id=str(first))
    with pytest.raises(AWAY):  # nothing is repeated: who called knows best
        kept.ping()
    assert kept.client_id() != first


def test_while_redis_is_away_there_is_none_to_keep() -> None:
    client = connect(Settings.model_validate({"redis_url": "redis://127.0.0.1:1/0"}))
    assert alone(client) is client


def test_behind_sentinels_the_kept_connection_finds_the_next_master(
    redis: Redis, redis_server: RedisServer, tmp_path: Path
) -> None:
    port, config = free_port(), tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor vims 127.0.0.1 {redis_server.port} 1\n")
    sentinel = Child("sentinel", [find_redis_server(), str(config), "--sentinel"], tmp_path)
    try:
        with RedisServer(tmp_path / "next") as another, Redis(port=port) as asked:

            def tell(*words: object) -> Any:
                return asked.execute_command("SENTINEL", *words)

            sentinel.wait_ready(lambda: "+monitor master vims" in sentinel.tail(), 10)
            settings = Settings.model_validate({"redis_url": f"redis+sentinel://127.0.0.1:{port}/vims/0"})
            client = connect(settings)
            until(lambda: _port(client))  # a Sentinel names no master before it has met it
            kept = alone(client)
            assert _port(kept) == redis_server.port
            first = kept.client_id()
            client.ping()
            assert kept.client_id() == first
            tell("REMOVE", "vims")
            tell("MONITOR", "vims", "127.0.0.1", another.port, 1)
            until(lambda: _port(connect(settings)) == another.port)
            redis.client_kill_filter(_id=str(first))
            with pytest.raises(AWAY):
                kept.ping()
            assert _port(kept) == another.port
    finally:
        sentinel.stop()


async def test_a_line_is_kept_and_is_made_anew_when_it_ended_while_nobody_asked(
    redis: Redis, redis_server: RedisServer
) -> None:
    async with connect_in_loop(Settings.model_validate({"redis_url": redis_server.url})) as client:
        line, other = Line(client), Line(client)
        first = await line.ask("CLIENT", "ID")
        assert await line.ask("CLIENT", "ID") == first
        assert await other.ask("CLIENT", "ID") != first
        redis.client_kill_filter(_id=str(first))
        await eventually(line._connection._reader.at_eof)
        assert await line.ask("CLIENT", "ID") not in (None, first)


async def test_a_line_on_which_nobody_answers_is_given_up_and_what_comes_late_is_nobodys(
    redis: Redis, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect_in_loop(Settings.model_validate({"redis_url": redis_server.url})) as client:
        line = Line(client)
        assert await line.ask("PING") == b"PONG"
        monkeypatch.setattr(connection, "SOCKET_TIMEOUT_S", 0.05)
        redis.client_pause(60_000, all=False)
        try:
            with pytest.raises(RedisTimeoutError):
                await line.ask("INCR", "number")
        finally:
            redis.client_unpause()
        assert [await line.ask("ECHO", word) for word in ("a", "b")] == [b"a", b"b"]


async def test_a_line_to_a_redis_that_takes_the_connection_and_says_nothing_is_given_up(
    redis: Redis, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is made anew, where redis-py itself has to log in."""
    url = redis_server.url.replace("redis://", "redis://:sesame@")
    redis.config_set("requirepass", "sesame")
    try:
        async with connect_in_loop(Settings.model_validate({"redis_url": url})) as client:
            line = Line(client)
            first = await line.ask("CLIENT", "ID")
            redis.client_kill_filter(_id=str(first))
            await eventually(line._connection._reader.at_eof)
            monkeypatch.setattr(connection, "SOCKET_TIMEOUT_S", 0.2)
            os.kill(redis_server.pid, signal.SIGSTOP)
            with pytest.raises(RedisTimeoutError):
                await line.ask("PING")
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
        redis.config_set("requirepass", "")


def _port(client: Redis) -> int | None:
    try:
        return int(client.info("server")["tcp_port"])
    except RedisError:
        return None
