"""The executor's connection to Redis: asyncio, and never repeating a command by itself."""

import asyncio
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

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


class Line:
    """A connection kept for whoever asks Redis one thing after another, and waits for each answer: what redis-py does
    to lend one, to put a command together and to limit each step of it costs an executor more than all else.

    It is made anew when it was lost. One on which something goes wrong, a cancellation included, is closed.
    """

    def __init__(self, redis: Redis) -> None:
        self._pool = redis.connection_pool  # which still closes it
        self._connection: Any = None  # redis-py has no types here

    async def ask(self, *words: str | bytes | int | float) -> Any:
        """What Redis answers to one command. Raises redis's errors; nothing is repeated."""
        connection = await self._connected()
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                await connection.send_packed_command(pack_command(words))  # type: ignore[arg-type]  # str is fine
                return await connection.read_response()
        except TimeoutError:
            raise RedisTimeoutError(f"Redis has not answered within {SOCKET_TIMEOUT_S:g} s") from None
        except ResponseError:  # Redis 7.0 answers twice where CLIENT UNBLOCK met CLIENT PAUSE; a replica may stay one
            await connection.disconnect()
            raise

    async def _connected(self) -> Any:
        if self._connection is None:
            self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        elif not self._connection.is_connected or await self._connection.can_read():
            await self._connection.disconnect()  # it ended while nobody asked, or has something to say all the same
            self._connection.socket_timeout = SOCKET_TIMEOUT_S
            await self._connection.connect()
        self._connection.socket_timeout = None  # of its own, which takes a task for each command: `ask` has one
        return self._connection
