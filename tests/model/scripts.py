"""The Lua scripts, line by line: `lease/store.py` ADVANCE, `conductor/requests.py` TAKE and GIVE_BACK."""

import re
from collections.abc import Mapping

from tests.model.redis import Redis
from vimmon.lease.keys import Keys
from vimmon.lease.model import CommittedStatus, Lease, parse_lease
from vimmon.lease.store import OLDEST_READING_MS

LEASE = re.compile(r"(\d+):.")
STATUS = re.compile(r"(\d+):(\d+):[A-Z]+:.")
MARKED = re.compile(rb"!(\d+) (.*)", re.DOTALL)
KEYS = Keys()
LEASE_TTL_S = 900.0


def advance(
    redis: Redis,
    leases: Mapping[str, Lease],
    statuses: Mapping[str, CommittedStatus],
    *,
    as_of_ms: int,
    compare: bool = True,
) -> list[str] | None:
    """LeaseStore.advance. Returns the leases that went backwards, which is never but where nothing is compared."""
    if redis.now_ms() - as_of_ms > OLDEST_READING_MS:
        return None
    backwards = []
    for vim_id, lease in leases.items():
        key = KEYS.lease(vim_id)
        old = redis.get(key)
        found = LEASE.match(old or "")
        if compare and found and (int(found[1]) > lease.generation or int(found[1]) == lease.generation and old != str(lease)):
            continue
        before = parse_lease(old)
        if before is not None and before.generation > lease.generation:
            backwards.append(f"{vim_id}: {before} → {lease}")
        redis.set(key, str(lease), ttl_s=LEASE_TTL_S)
    for vim_id, status in statuses.items():
        key = KEYS.status(vim_id)
        found = STATUS.match(redis.get(key) or "")
        if compare and found and (int(found[1]), int(found[2])) > (status.generation, status.seq):
            continue
        redis.set(key, str(status), ttl_s=LEASE_TTL_S)
    return backwards


def take(redis: Redis, taken: str, most: int) -> tuple[int, list[bytes]]:
    room = most - len(redis.list(taken))
    mine = redis.list(taken)
    if not (mine and mine[0].startswith(b"!")) and room > 0:
        waiting = redis.list(KEYS.requests)
        some = waiting[:room]
        number = len(some)
        for position, raw in enumerate(some):
            if raw.startswith(b"!"):
                number = 1 if position == 0 and not mine else position
                break
        if number > 0:
            redis.rpush(taken, *waiting[:number])
            redis.put(KEYS.requests, waiting[number:])
    everything = redis.list(taken)
    if everything:
        redis.zadd(KEYS.taken_index, taken, redis.now_ms())
    return redis.now_ms(), everything


def give_back(redis: Redis, taken: str) -> int:
    everything = redis.list(taken)
    back = []
    for raw in everything:
        found = MARKED.match(raw)
        deaths, body = (int(found[1]) + 1, found[2]) if found else (0, raw)
        back.append(b"!%d %s" % (deaths, body))
    redis.put(KEYS.requests, back + redis.list(KEYS.requests))
    redis.delete(taken)
    redis.zrem(KEYS.taken_index, taken)
    return len(everything)
