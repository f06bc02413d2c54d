"""The conductor's and the registry's connection to Redis: blocking, and never repeating a command by itself.

redis-py repeats a command whose answer was lost. For a command that takes something away that would take twice, so the
repeating is done where it is known to be safe: in the loops of those who call.
"""

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, TimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

from vimmon.redis_url import SentinelPlace, parse_redis_url
from vimmon.settings import Settings

SOCKET_TIMEOUT_S = 5.0
LONGEST_BLOCK_S = SOCKET_TIMEOUT_S - 2  # a blocking call must end well before the socket gives up
AWAY = (RedisConnectionError, TimeoutError, ReadOnlyError)  # Redis is away, or has become somebody's replica


class _ToTheMaster(SentinelManagedConnection):
    """Asks the Sentinels anew whenever it was lost, also where it is kept: redis-py's goes to where the master was."""

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._sock is None:
            self.connect()  # type: ignore[no-untyped-call]  # redis-py has no types here
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]  # as above


class _ToTheMasterByTls(_ToTheMaster, SentinelManagedSSLConnection):
    pass


def connect(settings: Settings) -> Redis:
    """A client for one process; it connects when first used. Raises SettingsError for an unreadable URL."""
    place = parse_redis_url(settings.redis_url.get_secret_value())
    if isinstance(place, SentinelPlace):
        sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py has no types here
            place.sentinels,
            sentinel_kwargs={"socket_timeout": SOCKET_TIMEOUT_S, "retry": Retry(NoBackoff(), 0), **place.tls},
        )
        client: Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
            place.service,
            connection_class=_ToTheMasterByTls if place.tls else _ToTheMaster,
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


def alone(client: Redis) -> Redis:
    """The same for one thread alone, which keeps its connection: redis-py then does half as much for each command.

    While Redis is away it is `client` itself, which must outlive it.
    """
    try:
        kept: Redis = client.client()  # type: ignore[no-untyped-call]  # redis-py has no types here
    except AWAY:
        return client
    return kept
