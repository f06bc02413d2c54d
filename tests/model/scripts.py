"""The Lua scripts, line by line: `lease/store.py` ADVANCE, `conductor/requests.py` TAKE and GIVE_BACK."""

import re
from collections.abc import Mapping

from tests.model.redis import Redis
from vimmon.lease.keys import Keys
from vimmon.lease.model import LEAP_MAX, CommittedStatus, Lease, parse_lease
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
        if compare and _ahead(LEASE.match(old or ""), lease.generation, same_is_ahead=old != str(lease)):
            continue
        before = parse_lease(old)
        if before is not None and lease.generation < before.generation <= lease.generation + LEAP_MAX:
            backwards.append(f"{vim_id}: {before} → {lease}")
        redis.set(key, str(lease), ttl_s=LEASE_TTL_S)
    for vim_id, status in statuses.items():
        key = KEYS.status(vim_id)
        found = STATUS.match(redis.get(key) or "")
        same_is_ahead = found is not None and status.seq < int(found[2]) <= status.seq + LEAP_MAX
        if compare and _ahead(found, status.generation, same_is_ahead=same_is_ahead):
            continue
        redis.set(key, str(status), ttl_s=LEASE_TTL_S)
    return backwards


def _ahead(found: re.Match[str] | None, generation: int, *, same_is_ahead: bool) -> bool:
    if found is None or int(found[1]) > generation + LEAP_MAX:
        return False
    return same_is_ahead if int(found[1]) == generation else int(found[1]) > generation


def take(redis: Redis, taken: str, most: int) -> tuple[int, list[bytes]]:
    waiting = redis.range(KEYS.requests)
    number = len(waiting[:most])
    for position, raw in enumerate(waiting[:most]):
        if raw.startswith(b"!"):
            number = max(1, position)
            break
    if number > 0:
        redis.rpush(taken, *waiting[:number])
        redis.put(KEYS.requests, waiting[number:])
        redis.zadd(KEYS.taken_index, taken, redis.now_ms())
    return redis.now_ms(), waiting[:number]


def give_back(redis: Redis, taken: str, *, died: bool) -> int:
    everything = redis.range(taken)
    back = []
    for raw in everything:
        found = MARKED.match(raw)
        deaths, body = (int(found[1]) + died, found[2]) if found else (0, raw)
        back.append(b"!%d %s" % (deaths, body))
    redis.put(KEYS.requests, back + redis.range(KEYS.requests))
    redis.delete(taken)
    redis.zrem(KEYS.taken_index, taken)
    return len(everything)
