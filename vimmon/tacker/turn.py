"""One at a time: who reads Tacker's list now. Two at once would do no harm, but count a doubt twice."""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from vimmon.errors import TackerBusy

TURN_S = 150  # how long a turn outlives a process that was killed; between two signs of life less passes
POLL_S = 0.2


class Turn:
    """Raises redis's own errors while Redis is away."""

    def __init__(
        self,
        redis: Redis,
        key: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._redis = redis
        self._key = key
        self._name = str(uuid.uuid4())
        self._clock = clock
        self._sleep = sleep

    @contextlib.contextmanager
    def taken(self, wait_s: float) -> Iterator[None]:
        """For as long as the context lasts. Raises TackerBusy where another has it for longer than `wait_s`."""
        until = self._clock() + wait_s
        while not self._redis.set(self._key, self._name, nx=True, ex=TURN_S):
            if self._clock() >= until:
                raise TackerBusy("another process is at work on Tacker's list")
            self._sleep(POLL_S)
        try:
            yield
        finally:
            with contextlib.suppress(RedisError):  # it expires by itself
                if cast(bytes | None, self._redis.get(self._key)) == self._name.encode():
                    self._redis.delete(self._key)

    def keep(self) -> None:
        """Says that it is still needed."""
        self._redis.set(self._key, self._name, ex=TURN_S)
