"""An installation in which all is well: every VIM is REACHABLE, held by one executor that lives, and Redis knows it."""

from redis import Redis
from sqlalchemy import text

from benchmarks.ground import LEASE_TTL_S, Site
from vimmon.lease.model import CommittedStatus
from vimmon.lease.store import LeaseStore
from vimmon.vim import VimStatus

EXECUTORS = 10
BULK = 500
LONG_S = 36_000


def put_at_ease(place: Site) -> None:
    """So it is with the VIMs of this site, and so it stays for hours, without any executor."""
    each = -(-len(place.vims) // EXECUTORS)
    with Redis.from_url(place.redis.url) as redis, place.engine.begin() as connection:
        store = LeaseStore(redis, place.keys, ttl_s=LEASE_TTL_S)
        now_s = store.now_ms() / 1000
        for number in range(EXECUTORS):
            executor, some = f"executor-{number}:4711:5eed5eed", place.vims[number * each : (number + 1) * each]
            redis.zadd(place.keys.executors, {executor: now_s})
            redis.hset(place.keys.executor(executor), mapping={"held_rev": "1"})
            redis.expire(place.keys.executor(executor), LONG_S)
            holder = f"{executor}:c0ffee00"
            for start in range(0, len(some), BULK):
                bulk = some[start : start + BULK]
                held, seen = place.keys.held(executor), place.keys.seen(executor)
                redis.hset(held, mapping={vim["vim_id"]: f"1:{vim['action_id']}" for vim in bulk})
                redis.hset(seen, mapping={vim["vim_id"]: f"{now_s + LONG_S:.3f}" for vim in bulk})
                statuses = {vim["vim_id"]: CommittedStatus(1, 1, VimStatus.REACHABLE, holder) for vim in bulk}
                store.advance({}, statuses, as_of_ms=store.now_ms())
            became = "UPDATE vims SET status = 'REACHABLE', status_seq = 1, execution_id = action_id, holder = :holder"
            ids = [{"holder": holder, "id": vim["vim_id"]} for vim in some]
            connection.execute(text(f"{became} WHERE id = :id"), ids)
    settle_table(place)


def settle_table(place: Site) -> None:
    """As the database does it by itself, sooner or later: planners know what is there, and no old row is left."""
    statements = {
        "postgresql": ("VACUUM FULL vims", "ANALYZE"),
        "mysql": ("ANALYZE TABLE vims, status_changes",),
        "sqlite": ("ANALYZE",),
    }
    with place.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements[place.engine.dialect.name]:
            connection.execute(text(statement)).close()
