"""The executor's connection to Redis: asyncio, and never repeating a command by itself."""

from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from vimmon.redis_url import SentinelPlace, parse_redis_url
from vimmon.settings import Settings

SOCKET_TIMEOUT_S = 5.0
LONGEST_BLOCK_S = SOCKET_TIMEOUT_S - 2  # a blocking call must end well before the socket gives up


def connect(settings: Settings) -> Redis:
    """A client for one loop; it connects when first used. Raises SettingsError for an unreadable URL."""
    place = parse_redis_url(settings.redis_url.get_secret_value())
    if isinstance(place, SentinelPlace):
        sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py has no types here
            place.sentinels,
            sentinel_kwargs={"socket_timeout": SOCKET_TIMEOUT_S, "retry": Retry(NoBackoff(), 0), **place.tls},
        )
        client: Redis = sentinel.master_for(
            place.service,
            socket_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
            **place.options(),
        )
        return client
    return Redis.from_url(
        place,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,  # to name the library is no right that access rules would have to give
    )


async def ask(redis: Redis, *words: str | bytes | int | float) -> Any:
    """One command, put together by hiredis: redis-py does that in Python, which costs more than all else that the
    busiest of them take. A connection on which something goes wrong, a cancellation included, closes by itself."""
    connection = await redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py has no types here
    try:
        await connection.send_packed_command(pack_command(words))  # type: ignore[arg-type]  # str is fine
        return await connection.read_response()
    except ResponseError:  # Redis 7.0 answers twice where CLIENT UNBLOCK met CLIENT PAUSE; a replica may stay one
        await connection.disconnect()
        raise
    finally:
        await redis.connection_pool.release(connection)
