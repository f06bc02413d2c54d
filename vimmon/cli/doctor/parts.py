"""The parts as a doctor meets them: each is opened when it is first asked for, and asked only once for the same."""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit

from redis import Redis

from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.lease.view import LeaseReport, LeaseView
from vimmon.mistral.client import MistralClient
from vimmon.redis_url import SentinelPlace, parse_redis_url
from vimmon.registry.examining import Database, Examined
from vimmon.settings import Settings
from vimmon.vim import Vim

MISTRAL_TIMEOUT_S = 10.0  # whoever waits for a doctor waits for a person's time


@dataclass(frozen=True)
class Process:
    """An executor or a conductor that lives, and what it says of itself."""

    id: str
    version: str
    host: str
    degraded: bool


class Parts:
    """Raises what the parts raise: a VimmonError, or redis's own errors."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.prefix)

    @cached_property
    def redis(self) -> Redis:
        return connect(self.settings)

    @cached_property
    def redis_info(self) -> dict[str, Any]:
        return self.redis.info()

    @property
    def redis_place(self) -> str:
        """Where it is, without user and password."""
        place = parse_redis_url(self.settings.redis_url.get_secret_value())
        if isinstance(place, SentinelPlace):
            return f"{place.service}, as Sentinel names it"
        parts = urlsplit(place)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.database_url.get_secret_value())

    @cached_property
    def examined(self) -> Examined:
        return self.database.examine()

    @cached_property
    def vims(self) -> list[Vim]:
        return self.database.store.list()

    @cached_property
    def mistral(self) -> MistralClient:
        timeout_s = min(self.settings.mistral_timeout_s, MISTRAL_TIMEOUT_S)
        return MistralClient(self.settings.model_copy(update={"mistral_timeout_s": timeout_s}))

    @cached_property
    def executors(self) -> list[Process]:
        return self._alive(self.keys.executors, self.keys.executor)

    @cached_property
    def conductors(self) -> list[Process]:
        return self._alive(self.keys.conductors, self.keys.conductor)

    @cached_property
    def leases(self) -> list[LeaseReport]:
        return LeaseView(self.redis, self.keys).report(self.vims)

    def redis_ahead_s(self) -> float:
        """How far its clock is ahead of this host's."""
        before = time.time()
        seconds, microseconds = self.redis.time()
        return seconds + microseconds / 1e6 - (before + time.time()) / 2

    def database_ahead_s(self) -> float:
        before = time.time()
        there = self.database.examine().now.timestamp()
        return there - (before + time.time()) / 2

    def _alive(self, index: str, key_of: Any) -> list[Process]:
        found = []
        for name in (_text(raw) for raw in cast(list[bytes], self.redis.zrange(index, 0, -1))):
            pipeline = self.redis.pipeline(transaction=False)
            pipeline.pttl(key_of(name))
            pipeline.hmget(key_of(name), ["version", "host", "prober_degraded"])
            ttl_ms, said = pipeline.execute(raise_on_error=False)
            if isinstance(ttl_ms, Exception):
                raise ttl_ms
            if ttl_ms > 0 and isinstance(said, list):
                version, host, degraded = (_text(one or b"?") for one in said)
                found.append(Process(name, version, host, degraded == "1"))
        return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
