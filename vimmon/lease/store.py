"""Leases and committed statuses in Redis, and the only writer of either.

Both only go forward: a write that is older than what stands there is not carried out, whoever sends it and however
late. They save the database work and decide nothing.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from redis import Redis

from vimmon.lease.commands import Commands, ask
from vimmon.lease.keys import Keys
from vimmon.lease.model import LEAP_MAX, CommittedStatus, Lease, parse_lease, parse_status

OLDEST_READING_MS = 60_000

# KEYS: leases, then statuses. ARGV: time to live in ms; when the values were read, in ms of this Redis's clock; the age
# in ms from which they are too old; how many of the keys are leases; the leap from which on what stands there is
# garbage; then a value for each key.
# Returns how many were written or refreshed, or -1 when the values are too old.
ADVANCE = """
local call, match = redis.call, string.match
local time = call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2] > tonumber(ARGV[3]) then return -1 end
local leases, advanced, leap = tonumber(ARGV[4]), 0, tonumber(ARGV[5])
local stood
for i, key in ipairs(KEYS) do
  local place = (i - 1) % 1000 + 1
  if place == 1 then stood = call('MGET', unpack(KEYS, i, math.min(i + 999, #KEYS))) end
  local new, old, ahead = ARGV[5 + i], stood[place], false
  if old and old ~= new then
    local pattern = i <= leases and '^(%d+):.' or '^(%d+):(%d+):%u+:.'
    local generation, seq = match(new, pattern)
    local old_generation, old_seq = match(old, pattern)
    if old_generation and #old_generation <= 15 and not (old_seq and #old_seq > 15) then
      -- To understand a number takes longer than all else: mostly they are alike as they are written.
      local by = old_generation == generation and 0 or old_generation - generation
      if by == 0 and i > leases then by = old_seq == seq and 0 or old_seq - seq end
      ahead = by > 0 and by <= leap or by == 0 and i <= leases
    end
  end
  if not ahead then
    call('SET', key, new, 'PX', ARGV[1])
    advanced = advanced + 1
  end
end
return advanced
"""


class Cached(NamedTuple):
    """What Redis says of one VIM; None where it says nothing readable."""

    lease: Lease | None
    status: CommittedStatus | None


class LeaseStore:
    """Raises redis's own ConnectionError and TimeoutError while Redis is away; nothing is retried."""

    def __init__(self, redis: Redis, keys: Keys, *, ttl_s: float) -> None:
        self._redis = redis
        self._keys = keys
        self._ttl_ms = round(ttl_s * 1000)
        self._advance = redis.register_script(ADVANCE)

    def now_ms(self) -> int:
        """Redis's clock: the only one that all parts share."""
        seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds // 1000

    def grant(self, vim_id: str, lease: Lease) -> bool:
        """Writes a lease that was just committed. False: Redis knows a newer one, or another of this generation."""
        return self.advance({vim_id: lease}, {}, as_of_ms=self.now_ms()) == 1

    def advance(
        self, leases: Mapping[str, Lease], statuses: Mapping[str, CommittedStatus], *, as_of_ms: int
    ) -> int | None:
        """Writes what the database said at `as_of_ms` where that is not older than what stands there, and lets it live.

        Returns how many stand as passed in; None, with nothing written, when `as_of_ms` is more than a minute ago:
        by then the keys that would have refused it may be gone.
        """
        if not leases and not statuses:
            return 0
        keys, args = self._advance_of(leases, statuses, as_of_ms)
        advanced = cast(int, self._advance(keys=keys, args=args))
        return None if advanced < 0 else advanced

    def queue_advance(
        self,
        commands: Commands,
        leases: Mapping[str, Lease],
        statuses: Mapping[str, CommittedStatus],
        *,
        as_of_ms: int,
    ) -> None:
        """The same with other commands, and with the whole script: a Redis that forgot it would not stop those behind
        it."""
        if leases or statuses:
            keys, args = self._advance_of(leases, statuses, as_of_ms)
            commands.add("EVAL", ADVANCE, len(keys), *keys, *args)

    def _advance_of(
        self, leases: Mapping[str, Lease], statuses: Mapping[str, CommittedStatus], as_of_ms: int
    ) -> tuple[list[str], list[str]]:
        keys = self._keys.leases_and_statuses(leases, statuses)
        numbers = map(str, (self._ttl_ms, as_of_ms, OLDEST_READING_MS, len(leases), LEAP_MAX))
        return keys, [*numbers, *map(str, leases.values()), *map(str, statuses.values())]

    def read(self, vim_ids: Sequence[str]) -> list[Cached]:
        """What Redis says of these VIMs, in one command."""
        return [read_cached(lease, status) for lease, status in self.values(vim_ids)]

    def values(self, vim_ids: Sequence[str]) -> list[tuple[bytes | None, bytes | None]]:
        """The values of the lease key and the status key of each of these VIMs, in one command."""
        if not vim_ids:
            return []
        keys = self._keys.leases_and_statuses(vim_ids, vim_ids)
        values = cast(list[bytes | None], ask(self._redis, "MGET", *keys))
        return list(zip(values[: len(vim_ids)], values[len(vim_ids) :], strict=True))


def read_cached(lease: bytes | None, status: bytes | None) -> Cached:
    """What the values of its lease key and its status key say of a VIM."""
    return Cached(parse_lease(_text(lease)), parse_status(_text(status)))


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None
