"""Rows: a Redis that is there, and refuses writes, or whose connections break in the middle of a command.

Nobody may exit, or be restarted.
"""

import time
from collections import Counter
from collections.abc import Callable

from redis.exceptions import OutOfMemoryError, ReadOnlyError

from tests.chaos.rows import Row
from tests.chaos.shears import Shears, Where, now_and_then
from tests.chaos.watching import Watched
from vimmon.embedded.process import free_port

CUT_FOR_S = 60
GAP_S = 0.1
# A heartbeat that was cut is sent again after a second. That one may pass: who cannot beat at all is dead, and rightly.
BEAT_GAP_S = 2.5
BEAT = ("HELLO", "CLIENT", "TIME", "HGET", "HLEN", "ZADD", "HSET", "PEXPIRE", "HKEYS")
FEWEST_KINDS = 10


def out_of_memory(vims: Watched) -> Row:
    redis = vims.on.redis
    lasts_s = vims.on.scale.count(240, 10)  # longer than monitors may seem not to probe
    redis.config_set("maxmemory", 1)
    return _refuses(vims, Row("Redis out of memory (OOM)"), lasts_s, lambda: redis.config_set("maxmemory", 0))


def read_only(vims: Watched) -> Row:
    """As when a failover went another way: the Redis that is asked is the replica of one that cannot be reached."""
    redis = vims.on.redis
    lasts_s = vims.on.scale.s(60)  # longer than executors live without a heartbeat
    redis.replicaof("127.0.0.1", free_port())
    return _refuses(vims, Row("Redis takes no writes (READONLY)"), lasts_s, lambda: redis.replicaof("NO", "ONE"))


def cut_in_command(vims: Watched) -> Row:
    return _cut(vims, Row("connections to Redis cut in the middle of a command"), "command")


def answers_lost(vims: Watched) -> Row:
    return _cut(vims, Row("answers of Redis lost, of what it has carried out"), "answer")


def _refuses(vims: Watched, row: Row, lasts_s: float, end: Callable[[], object]) -> Row:
    row.done = f"for {lasts_s:g} s; VIMs go down, and up again"
    _change_meanwhile(vims, lasts_s)
    row.must(_refuses_writes(vims), "Redis took a write")
    end()
    return vims.judge(row)


def _change_meanwhile(vims: Watched, lasts_s: float) -> None:
    """Two VIMs stay down, and one is up again before the trouble ends."""
    vims.down(0)
    vims.down(1)
    time.sleep(lasts_s / 2)
    vims.up(1)
    vims.down(2)
    time.sleep(lasts_s / 2)


def _refuses_writes(vims: Watched) -> bool:
    try:
        vims.on.redis.set("chaos", 1)
    except (OutOfMemoryError, ReadOnlyError):
        return True
    return False


def _cut(vims: Watched, row: Row, where: Where) -> Row:
    lasts_s, seed = vims.on.scale.s(CUT_FOR_S), vims.on.scale.seed
    all_shears = []
    for valve in vims.valves:
        spared = dict.fromkeys(BEAT, BEAT_GAP_S) if valve in vims.host_valves else {}
        valve.shears = Shears(where, now_and_then(GAP_S, spared=spared), seed=seed)
        all_shears.append(valve.shears)
    _change_meanwhile(vims, lasts_s)
    for valve in vims.valves:
        valve.shears = None
    cuts = sum((shears.cuts for shears in all_shears), Counter())
    row.done = f"{cuts.total()} in {lasts_s:g} s, at {len(cuts)} kinds of command; VIMs go down, and up again"
    row.must(len(cuts) >= FEWEST_KINDS, f"only {dict(cuts)} were cut")
    row.must(all(shears.cuts for shears in all_shears), "one of the ways to Redis was never cut")
    return vims.judge(row)
