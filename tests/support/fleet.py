"""Fleets of VIMs for whoever looks at many: rows, histories, and what executors would have written into Redis."""

import json
import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis
from sqlalchemy import Engine, insert

from vimmon.lease.keys import Keys
from vimmon.metrics import ExecutorMetrics
from vimmon.registry.models import STATUS_CHANGES, VIMS
from vimmon.vim import VimStatus

UP, DOWN, UNKNOWN, PENDING = VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN, VimStatus.PENDING
CITIES = ("tokyo", "osaka", "kyoto", "lagos", "quito", "oslo", "zürich", "perth", "lima", "turin", "accra", "hanoi")
REASONS = {
    UP: ("HTTP 300 in 31 ms", "HTTP 401 in 8 ms", "connected in 2 ms"),
    DOWN: (
        "no answer within 5 s",
        "connection refused",
        "certificate expired on 2026-11-26",
        "HTTP 503 from the proxy in front of Keystone, which says that no server is available to handle this request",
    ),
    UNKNOWN: ("no executor has watched it for 120 s", "the name cannot be resolved here: no resolver answers"),
    PENDING: (None,),
}


def fill(
    engine: Engine,
    redis: Redis,
    count: int,
    *,
    absent: Sequence[VimStatus] = (),
    executors: int = 2,
    changed: float = 0.2,
    keys: Keys = Keys(),  # noqa: B008  # a value
) -> list[str]:
    """Registers `count` VIMs, the first of them `absent`, a part of them with a history. Returns their ids."""
    chance, now = random.Random(count), datetime.now(UTC)
    rows: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    names = [f"mistral-{number}:{4000 + number}:{number:08x}" for number in range(1, executors + 1)]
    held: dict[str, dict[str, str]] = {name: {} for name in names}
    statuses: dict[str, str] = {}
    for number in range(count):
        status = absent[number] if number < len(absent) else UP
        vim_id, action_id = str(uuid.UUID(int=chance.getrandbits(128))), str(uuid.UUID(int=chance.getrandbits(128)))
        name = f"{chance.choice(CITIES)}-{number:05}"
        since = now - timedelta(seconds=chance.uniform(30, 7200 if status is not UP else 30 * 86400))
        created = min(since, now - timedelta(days=40))
        if status is PENDING:
            since = created = now - timedelta(seconds=chance.uniform(5, 500))
        elif chance.random() < 0.1:
            created = since - timedelta(minutes=chance.uniform(5, 600))
        reason = chance.choice(REASONS[status])
        executor = names[number % executors] if names and status is not UNKNOWN else None
        rows.append(
            {
                "id": vim_id,
                "name": name,
                "live_name": name,
                "type": "openstack",
                "auth_url": f"https://keystone.{name.encode('idna').decode()}.example.org:5000/v3",
                "probe": json.dumps({"kind": "http", "preset": "keystone"}),
                "status": status,
                "reason": reason,
                "status_since": since,
                "status_seq": 5,
                "holder": f"{executor}:aa" if executor else None,
                "action_id": action_id,
                "generation": 7,
                "execution_id": action_id,
                "created_at": created,
                "updated_at": since,
            }
        )
        if status is not PENDING and (status is not UP or chance.random() < changed):
            at = max(created, since - timedelta(hours=chance.uniform(1, 20)))
            steps = [(created, PENDING, UP)] if created > now - timedelta(days=1) else []
            while at < since:
                end = at + timedelta(minutes=chance.expovariate(1 / 20))
                if end >= since:
                    break
                bad = chance.choice((DOWN, DOWN, UNKNOWN))
                steps += [(at, UP, bad), (end, bad, UP)]
                at = end + timedelta(minutes=chance.expovariate(1 / 240))
            last = steps[-1][2] if steps else (UP if status is not UP else DOWN)
            if last is not status:
                steps.append((since, last, status))
            else:
                rows[-1]["status_since"] = steps[-1][0]
            changes += [
                {
                    "vim_id": vim_id,
                    "at": when,
                    "old": old,
                    "new": new,
                    "reason": None,
                    "generation": 7,
                    "seq": 5,
                    "action_id": action_id,
                }
                for when, old, new in steps
            ]
        if executor:
            held[executor][vim_id] = f"7:{action_id}"
            statuses[keys.status(vim_id)] = f"7:5:{status}:{executor}:aa"
    with engine.begin() as connection:
        connection.execute(insert(VIMS), rows)
        if changes:
            connection.execute(insert(STATUS_CHANGES), sorted(changes, key=lambda change: change["at"]))
    _tell(redis, keys, held, statuses, now)
    return [row["id"] for row in rows]


def _tell(redis: Redis, keys: Keys, held: dict[str, dict[str, str]], statuses: dict[str, str], now: datetime) -> None:
    """What living executors and one conductor would have written; for an hour."""
    pipeline = redis.pipeline(transaction=False)
    if statuses:
        pipeline.mset(dict[Any, Any](statuses))
    for number, (name, theirs) in enumerate(held.items()):
        pipeline.zadd(keys.executors, {name: now.timestamp()})
        said = {"host": name.partition(":")[0], "pid": "4001", "version": "0.1.0", "monitors": str(len(theirs))}
        said |= {"started": str(round(now.timestamp()) - 90000 * (number + 1)), "prober_degraded": "0"}
        pipeline.hset(keys.executor(name), mapping=dict[Any, Any](said))
        pipeline.hset(
            keys.metrics(name), mapping=dict[Any, Any](ExecutorMetrics(running=3, oldest_check_s=31).fields())
        )
        if theirs:
            pipeline.hset(keys.held(name), mapping=dict[Any, Any](theirs))
            seen = {vim_id: str(now.timestamp() - index % 55) for index, vim_id in enumerate(theirs)}
            pipeline.hset(keys.seen(name), mapping=dict[Any, Any](seen))
        for key in (keys.executor(name), keys.metrics(name), keys.held(name), keys.seen(name)):
            pipeline.pexpire(key, 3_600_000)
    pipeline.zadd(keys.conductors, {"conductor-1:77:00000001": now.timestamp()})
    pipeline.hset(
        keys.conductor("conductor-1:77:00000001"), mapping={"host": "conductor-1", "pid": "77", "version": "0.1.0"}
    )
    pipeline.pexpire(keys.conductor("conductor-1:77:00000001"), 3_600_000)
    pipeline.hset(keys.totals, "reconcile_ended_ms", str(round(now.timestamp() * 1000)))
    pipeline.execute()
