"""Tells of changes of status: in the log, and in a stream for whoever wants to follow. Only the table is complete."""

import logging
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from vimmon.lease.commands import Commands
from vimmon.lease.keys import Keys
from vimmon.log import Events, event

log = logging.getLogger(__name__)

EVENTS_MAX = 10_000


class Change(NamedTuple):
    """Of a status; the fields of an event."""

    vim_id: str
    generation: str
    old: str
    new: str
    reason: str


# KEYS: the stream. ARGV: about how long it may be; then the values of the fields of one event after another.
PAIRS = ", ".join(f"'{field}', ARGV[i + {number}]" for number, field in enumerate(Change._fields))
ADD = f"""
local call = redis.call
for i = 2, #ARGV, {len(Change._fields)} do
  call('XADD', KEYS[1], '*', {PAIRS})
end
call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
"""


def announce(redis: Redis, keys: Keys, changes: Sequence[Change]) -> None:
    """Best effort: a Redis that is away does not hear of it."""
    commands = Commands(redis)
    queue_events(commands, keys, changes)
    log_changes(changes)
    try:
        commands.run()
    except RedisError as trouble:
        log.info(event("events_not_sent", error=trouble))


def queue_events(commands: Commands, keys: Keys, changes: Sequence[Change]) -> None:
    """For the stream, with other commands: one more, however many changes there are."""
    if changes:
        commands.add("EVAL", ADD, 1, keys.events, EVENTS_MAX, *chain.from_iterable(changes))


def log_changes(changes: Sequence[Change]) -> None:
    if changes:
        log.info(Events("status_changed", Change._fields, changes))
