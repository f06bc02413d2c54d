"""The connection of a conductor that is kept for one thread."""

import pytest
from redis import Redis

from vimmon.embedded.redis import RedisServer
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
