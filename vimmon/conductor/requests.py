"""The list of requests: how a batch is taken so that a crash loses nothing, and how it comes back.

A batch is moved to a list of its own with a name never used before, and only that list is deleted once its requests
are answered. A list whose conductor is gone, or that is too old, is moved back by whoever finds it. What came back is
marked, `!0 {...}`, and from then on handled alone, so that the one request that kills conductors is told from its
neighbours; the number counts how often a conductor was lost over it alone.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from redis import Redis
from redis.exceptions import InvalidResponse, RedisError

from vimmon.lease.commands import Commands
from vimmon.lease.keys import Keys
from vimmon.messages import REQUEST_MAX_BYTES

MARK: Final = b"!"
DEATHS_MAX = 3  # lost this often, handled alone: it is the request
DEAD_MAX = 1000
BATCH_MAX_BYTES = 4 * 1024 * 1024  # more than this is not taken at once, unless one request alone is larger
DIGITS_MAX = 9  # of the number in a mark; more were not written by a conductor

# KEYS: requests, taken-list, index. ARGV: how many; how many bytes. Enters the list in the index, and moves the oldest,
# one only where it is marked. An index of another type is an error also where there is nothing to move, and before.
# Returns Redis's time in ms, then what was moved.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local waiting = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)
local count, bytes = #waiting, 0
for i, raw in ipairs(waiting) do
  bytes = bytes + #raw
  if string.sub(raw, 1, 1) == '!' then
    count = i == 1 and 1 or i - 1
    break
  end
  if bytes > tonumber(ARGV[2]) and i > 1 then
    count = i - 1
    break
  end
end
if count == 0 then
  redis.call('ZCARD', KEYS[3])
else
  redis.call('ZADD', KEYS[3], now, KEYS[2])
  redis.call('RPUSH', KEYS[2], unpack(waiting, 1, count))
  redis.call('LTRIM', KEYS[1], count, -1)
end
return {now, {unpack(waiting, 1, count)}}
"""

# KEYS: taken-list, requests, index. ARGV: 1 where its conductor died, else 0. Puts the requests back in front, marked;
# a marked one, which was alone, has cost one conductor more. Returns how many.
GIVE_BACK = """
local all = redis.call('LRANGE', KEYS[1], 0, -1)
for i = #all, 1, -1 do
  local deaths, raw = string.match(all[i], '^!(%d+) (.*)$')
  redis.call('LPUSH', KEYS[2], '!' .. string.format('%d', deaths and deaths + ARGV[1] or 0) .. ' ' .. (raw or all[i]))
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], KEYS[1])
return #all
"""


@dataclass(frozen=True)
class Batch:
    """Requests in hand. `taken` is the list that holds them in Redis until they are answered."""

    taken: str
    requests: tuple[bytes, ...]
    now_ms: int
    deaths: int = 0


class RequestList:
    """Raises redis's own ConnectionError and TimeoutError while Redis is away; a batch in hand comes back later."""

    def __init__(self, redis: Redis, keys: Keys, conductor_id: str) -> None:
        self._redis = redis
        self._keys = keys
        self._conductor_id = conductor_id
        self._give_back = redis.register_script(GIVE_BACK)

    def take(self, most: int, *, block_s: float) -> Batch | None:
        """Up to `most` of the oldest requests; None when none came within `block_s`."""
        commands = Commands(self._redis)
        taken = self.queue_take(commands, most, block_s=block_s)
        return self.taken(taken, commands.run())

    def queue_take(self, commands: Commands, most: int, *, block_s: float) -> str:
        """The same behind other commands, which are carried out before anything is waited for. Its answers belong to
        `taken`, with the name that is returned."""
        requests, index = self._keys.requests, self._keys.taken_index
        taken = self._keys.taken(self._conductor_id, secrets.token_hex(8))
        # Put back to where it was: this only waits. What takes is one script, which is carried out whole or not at all.
        commands.add("BLMOVE", requests, requests, "LEFT", "LEFT", block_s)
        commands.add("EVAL", TAKE, 3, requests, taken, index, most, BATCH_MAX_BYTES)
        return taken

    @staticmethod
    def taken(taken: str, results: Sequence[Any]) -> Batch | None:
        """What `queue_take` took, also where the waiting was broken off. Raises what Redis said instead."""
        waited, took = results
        if isinstance(took, RedisError):
            raise took
        if not isinstance(took, list):
            raise InvalidResponse("the taking was answered as if it were another command")
        now_ms, raw = cast(tuple[int, list[bytes]], took)
        if not raw:
            if isinstance(waited, RedisError):
                raise waited
            return None
        if not raw[0].startswith(MARK):
            return Batch(taken, tuple(raw), now_ms)
        count, _, request = raw[0][1:].partition(b" ")
        return Batch(taken, (request,), now_ms, int(count) if count.isdigit() and len(count) <= DIGITS_MAX else 0)

    def acknowledge(self, commands: Commands, batch: Batch) -> None:
        """Deletes just this batch, behind what answers it."""
        commands.add("DEL", batch.taken)
        commands.add("ZREM", self._keys.taken_index, batch.taken)

    def bury(self, commands: Commands, request: bytes) -> None:
        """Puts a request that cannot be handled where an operator finds it; of one that is too long, the beginning."""
        commands.add("LPUSH", self._keys.dead, request[:REQUEST_MAX_BYTES])
        commands.add("LTRIM", self._keys.dead, 0, DEAD_MAX - 1)

    def give_back(self, taken: str, *, died: bool) -> int:
        """Moves a taken-list back in front of the waiting ones. Returns how many requests it held.

        `died`: its conductor did, and was not just slow; only that speaks against a request.
        """
        keys = [taken, self._keys.requests, self._keys.taken_index]
        return cast(int, self._give_back(keys=keys, args=[int(died)]))

    def abandoned(self, *, older_than_s: float) -> Iterator[tuple[str, bool]]:
        """The taken-lists that nobody will answer: their conductor died (True), or they are too old."""
        seconds, _ = self._redis.time()
        index = cast(list[tuple[bytes, float]], self._redis.zrange(self._keys.taken_index, 0, -1, withscores=True))
        for member, taken_ms in index:
            taken = member.decode("utf-8", "replace")
            if not taken.startswith(self._keys.taken("", "")[:-1]):
                self._redis.zrem(self._keys.taken_index, member)  # not one of ours: it must not be moved
                continue
            too_old = taken_ms < (seconds - older_than_s) * 1000
            died = not self._redis.exists(self._keys.conductor(self._keys.conductor_of(taken)))
            if too_old or died:
                yield taken, died

    def mend(self) -> list[str]:
        """Deletes what stands in the way: a key of another type where a list or the index must be. Returns which."""
        kinds = {self._keys.requests: b"list", self._keys.taken_index: b"zset"}
        odd = [key for key, kind in kinds.items() if self._redis.type(key) not in (kind, b"none")]
        if odd:
            self._redis.delete(*odd)
        return odd

    def enter_missing(self) -> int:
        """Enters the taken-lists that the index lacks: the answer to their taking was lost. Walks all keys."""
        seconds, _ = self._redis.time()
        found = 0
        for key in self._redis.scan_iter(match=self._keys.taken("*", "*"), count=1000, _type="list"):
            found += cast(int, self._redis.zadd(self._keys.taken_index, {key: seconds * 1000}, nx=True))
        return found
