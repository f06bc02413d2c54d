"""What an executor may write about itself, read as the reconciler and an operator read it, on a real Redis."""

import atexit
import shutil
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from redis import Redis

from vimmon.conductor.cache import compare, odd_ones
from vimmon.conductor.plan import Memory, Sight, plan
from vimmon.conductor.sight import Lookout
from vimmon.conductor.verdict import Limits
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.lease.model import LEAP_MAX
from vimmon.lease.store import LeaseStore
from vimmon.lease.view import LeaseView
from vimmon.registry.values import Glance
from vimmon.vim import Vim, VimStatus, VimType

KEYS = Keys()
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
VIM = Vim(
    id="v",
    name="v",
    type=VimType.GENERIC,
    auth_url="http://h:1",
    probe={},
    status=VimStatus.REACHABLE,
    reason=None,
    status_since=LONG_AGO,
    action_id="a",
    generation=1,
    execution_id=None,
    created_at=LONG_AGO,
    updated_at=LONG_AGO,
)


def run(data: bytes) -> None:
    """First an executor's id, then lines FIELD=VALUE, for its held list and for what it has seen alike."""
    redis = _redis()
    redis.flushall()
    name, *lines = data.split(b"\n")
    fields: dict[Any, Any] = {b"v": b"1:a"}
    fields |= {field: value for field, _, value in (line.partition(b"=") for line in lines)}
    executor = name.decode("utf-8", "replace")
    redis.zadd(KEYS.executors, {name.decode("latin-1"): 1})
    redis.zadd(KEYS.executors, {executor: 1})
    for key in (KEYS.executor(executor), KEYS.held(executor), KEYS.seen(executor)):
        redis.hset(key, mapping=fields)
        redis.pexpire(key, 30_000)
    redis.set(KEYS.status("v"), b"1:1:REACHABLE:%s:9f" % name)
    redis.set(KEYS.lease("v"), lines[0] if lines else b"")
    store = LeaseStore(redis, KEYS, ttl_s=900)
    seen = Lookout(redis, KEYS, store, stuck_after_s=30).look()
    said = {"v": store.values(["v"])[0]}
    row = Glance("v", 1, "a", VimStatus.REACHABLE, 1, f"{executor}:9f", "a", 0, 10.0)
    odd = odd_ones([("v", "1:a", f"1:1:REACHABLE:{row.holder}")], said, seen.once, frozenset())
    leases = compare([row], said, refresh=False).found
    sight = Sight(leases, seen.held_of(["v"]), seen.stuck)
    found, memory = plan([row], sight, Memory(), 0.0, Limits())
    plan([row], sight, memory, 1000.0, Limits())
    assert odd or not found.restarts, "where nothing is odd, there is nothing to do"
    assert all(1 < restart.to <= 1 + LEAP_MAX + 1 for restart in found.restarts)
    assert all(restart.reason.isprintable() for restart in found.restarts)
    view = LeaseView(redis, KEYS)
    (report,) = view.report([VIM])
    assert report.model_dump_json()
    assert view.complete([VIM])[0].model_dump_json()


@cache
def _redis() -> Redis:
    folder = Path(tempfile.mkdtemp(prefix="vimmon-fuzz-"))
    server = RedisServer(folder).start()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.stop)
    return Redis.from_url(server.url)
