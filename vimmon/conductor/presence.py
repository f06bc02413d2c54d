"""A conductor's sign of life in Redis, kept by a thread of its own, so that a slow database does not look like death.

With each heartbeat everything is written anew: who was paused and declared dead is known again at once.
"""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from vimmon.lease.keys import Keys
from vimmon.log import event
from vimmon.version import VERSION

log = logging.getLogger(__name__)


def new_conductor_id() -> str:
    """Never the same twice: a successor must not answer for a dead one's batches."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Presence:
    """`also` is done with each heartbeat, and once more at the end."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        conductor_id: str,
        *,
        beat_s: float,
        ttl_s: float,
        also: Callable[[], object] = lambda: None,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._conductor_id = conductor_id
        self._beat_s = beat_s
        self._ttl_s = ttl_s
        self._also = also
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the heartbeats and takes the conductor off the list."""
        self._stop.set()
        self._thread.join()
        try:
            self._redis.delete(self._keys.conductor(self._conductor_id))
            self._redis.zrem(self._keys.conductors, self._conductor_id)
            self._also()
        except RedisError as trouble:  # it expires by itself
            log.info(event("farewell_not_sent", error=trouble))
        except Exception:  # nor may that keep its process from leaving
            log.exception(event("farewell_not_sent"))

    def beat(self) -> None:
        key = self._keys.conductor(self._conductor_id)
        seconds, _ = self._redis.time()
        pipeline = self._redis.pipeline()
        pipeline.zadd(self._keys.conductors, {self._conductor_id: seconds})
        pipeline.hset(key, mapping={"host": socket.gethostname(), "pid": str(os.getpid()), "version": VERSION})
        pipeline.pexpire(key, round(self._ttl_s * 1000))
        pipeline.execute()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.beat()
                self._also()
            except RedisError as trouble:  # the next beat writes everything anew
                log.info(event("heartbeat_not_sent", error=trouble))
            except Exception:  # to live without a heartbeat is to have each batch taken away, and its requests buried
                log.exception(event("heartbeat_not_sent"))
            self._stop.wait(self._beat_s)
