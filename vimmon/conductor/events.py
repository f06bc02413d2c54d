"""Tells of changes of status: in the log, and in a stream for whoever wants to follow. Only the table is complete."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from vimmon.lease.keys import Keys
from vimmon.log import event

log = logging.getLogger(__name__)

EVENTS_MAX = 10_000


def announce(redis: Redis, keys: Keys, changes: Sequence[Mapping[str, str]]) -> None:
    """Each with vim_id, generation, old, new and reason. Best effort: a Redis that is away does not hear of it."""
    if not changes:
        return
    pipeline = redis.pipeline(transaction=False)
    for change in changes:
        log.info(event("status_changed", **change))
        pipeline.xadd(keys.events, dict[Any, Any](change), maxlen=EVENTS_MAX, approximate=True)
    try:
        pipeline.execute(raise_on_error=False)
    except RedisError as trouble:
        log.info(event("events_not_sent", error=trouble))
