"""Tells of changes of status: in the log, and in a stream for whoever wants to follow. Only the table is complete."""

import logging
from collections.abc import Mapping, Sequence

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from vimmon.lease.keys import Keys
from vimmon.log import Events, event

log = logging.getLogger(__name__)

EVENTS_MAX = 10_000
FIELDS = ("vim_id", "generation", "old", "new", "reason")

# KEYS: the stream. ARGV: about how long it may be; then the values of the fields of each event.
PAIRS = ", ".join(f"'{field}', ARGV[i + {number}]" for number, field in enumerate(FIELDS))
ADD = f"""
for i = 2, #ARGV, {len(FIELDS)} do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', {PAIRS})
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
    if changes:
        log.info(Events("status_changed", changes))
        values = [change[field] for change in changes for field in FIELDS]
        pipeline.eval(ADD, 1, keys.events, str(EVENTS_MAX), *values)
