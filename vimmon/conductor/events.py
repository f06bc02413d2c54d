"""Tells of changes of status: in the log, and in a stream for whoever wants to follow. Only the table is complete."""

import logging
from collections.abc import Mapping, Sequence

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from vimmon.lease.keys import Keys
from vimmon.log import event

log = logging.getLogger(__name__)

EVENTS_MAX = 10_000
FIELDS = ("vim_id", "generation", "old", "new", "reason")

# KEYS: the stream. ARGV: about how long it may be; how many arguments make one event; then those of each.
ADD = """
for i = 3, #ARGV, ARGV[2] do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, i, i + ARGV[2] - 1))
end
"""


def announce(redis: Redis, keys: Keys, changes: Sequence[Mapping[str, str]]) -> None:
    """Each with vim_id, generation, old, new and reason. Best effort: a Redis that is away does not hear of it."""
    pipeline = redis.pipeline(transaction=False)
    queue_announcement(pipeline, keys, changes)
    try:
        pipeline.execute(raise_on_error=False)
    except RedisError as trouble:
        log.info(event("events_not_sent", error=trouble))


def queue_announcement(pipeline: Pipeline, keys: Keys, changes: Sequence[Mapping[str, str]]) -> None:
    """The same with the other commands of a pipeline: one more, however many changes there are."""
    events: list[str] = []
    for change in changes:
        log.info(event("status_changed", **change))
        for field in FIELDS:
            events += (field, change[field])
    if events:
        pipeline.eval(ADD, 1, keys.events, str(EVENTS_MAX), str(2 * len(FIELDS)), *events)
