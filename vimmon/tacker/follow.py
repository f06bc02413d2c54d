"""Follows Tacker: one pass after another, one at a time however many processes do so."""

import logging
import threading
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from vimmon.errors import TackerBusy, VimmonError
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.log import event
from vimmon.registry.registry import Registry
from vimmon.settings import Settings
from vimmon.tacker.client import TackerClient
from vimmon.tacker.state import read_following
from vimmon.tacker.sync import Passed, TackerSync

log = logging.getLogger(__name__)

SOON_S = 1.0  # after a pass of somebody else's, or trouble with Redis


def open_sync(settings: Settings) -> tuple[TackerSync, Redis]:
    """What the environment describes. Raises SettingsError and SchemaOutdated."""
    redis, registry = connect(settings), Registry.from_settings(settings)
    give = settings.tacker_give_status
    return TackerSync(TackerClient(settings), registry, redis, Keys(settings.prefix), give_status=give), redis


def follow(
    sync: TackerSync,
    redis: Redis,
    keys: Keys,
    *,
    interval_s: float,
    stop: threading.Event,
    tell: Callable[[Passed | VimmonError], object] = lambda _: None,
) -> None:
    """A pass every `interval_s` until `stop` is set, whoever makes it. `tell` hears of those that were made here."""
    while not stop.is_set():
        try:
            due_s = _due_s(redis, keys, interval_s)
            if due_s > 0:
                stop.wait(min(due_s, interval_s))
                continue
            tell(sync.run_once(interval_s=interval_s, stopped=stop.is_set))
        except TackerBusy:
            stop.wait(min(SOON_S, interval_s))
        except (VimmonError, RedisError) as trouble:
            log.warning(event("tacker_not_followed", error=trouble))
            if isinstance(trouble, VimmonError):
                tell(trouble)
            stop.wait(min(SOON_S, interval_s))
        except Exception:  # whatever it stumbles over, the next pass may get further
            log.exception(event("tacker_not_followed"))
            stop.wait(interval_s)


def _due_s(redis: Redis, keys: Keys, interval_s: float) -> float:
    """In how many seconds the next pass is due, by Redis's clock; a clock that was set back makes it due now."""
    following = read_following(redis, keys)
    if following is None or following.began_ms is None:
        return 0.0
    seconds, microseconds = redis.time()
    passed_s = seconds + microseconds / 1e6 - following.began_ms / 1000
    return interval_s - passed_s if passed_s >= 0 else 0.0
