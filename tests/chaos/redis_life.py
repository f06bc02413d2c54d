"""Rows: Redis flushed, restarted, away, and replaced by its replica. Nobody may exit, nothing may be restarted."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError

from tests.chaos.ground import ground
from tests.chaos.rows import Row, Scale, until
from tests.chaos.watching import VIMS, Watched, watched
from vimmon.embedded.process import Child, free_port
from vimmon.embedded.redis import RedisServer, find_redis_server

SENTINEL = """\
port {port}
bind 127.0.0.1
sentinel monitor vims 127.0.0.1 {master} 1
sentinel down-after-milliseconds vims 1000
sentinel failover-timeout vims 5000
"""


def flushed(folder: Path, scale: Scale) -> Row:
    row = Row("FLUSHALL", "3 times, two VIMs going down, or up again, at the same time")
    with watched(folder, scale) as vims:
        for number in range(3):
            until(vims.healed, scale.s(90) + scale.slack_s, "healed before the next")
            vims.down(2 * number)
            vims.down(2 * number + 1)
            vims.on.redis.flushall()
            vims.up(2 * number + 1)
        return vims.judge(row)


def restarted_empty(folder: Path, scale: Scale) -> Row:
    return _restarted(folder, scale, Row("Redis restarted empty"), persistent=False)


def restarted_with_data(folder: Path, scale: Scale) -> Row:
    return _restarted(folder, scale, Row("Redis killed, restarted with its data"), persistent=True)


def _restarted(folder: Path, scale: Scale, row: Row, *, persistent: bool) -> Row:
    away_s = scale.s(30)
    row.done = f"gone for {away_s:g} s, a VIM going down meanwhile, one before, one up again"
    with watched(folder, scale, persistent=persistent) as vims:
        vims.down(0)
        vims.down(1)
        until(vims.healed, scale.s(90) + scale.slack_s, "two VIMs down")
        vims.on.redis_server.child.kill()
        vims.on.redis_server.stop()
        vims.down(2)
        vims.up(1)
        time.sleep(away_s)
        vims.on.redis_server.start()
        return vims.judge(row)


def away(folder: Path, scale: Scale) -> Row:
    away_s = scale.s(600)
    row = Row("Redis away", f"{away_s:g} s: first refusing, then silent; VIMs go down, and up again")
    with watched(folder, scale) as vims:
        valve = vims.on.redis_valve
        valve.shut()
        vims.down(0)
        vims.down(1)
        time.sleep(away_s / 2)
        valve.hold()
        vims.up(1)
        vims.down(2)
        time.sleep(away_s / 2)
        valve.open()
        return vims.judge(row)


def failed_over(folder: Path, scale: Scale) -> Row:
    """The master is killed: Sentinel promotes its replica, which may lack what was written last."""
    row = Row("Sentinel failover", "the master killed, a VIM going down at the same time")
    with ground(folder, scale, targets=VIMS) as on:
        master = on.redis_server
        replica = on.stack.enter_context(
            RedisServer(folder / "replica", options=("--replicaof", "127.0.0.1", str(master.port)))
        )
        port, config = free_port(), folder / "sentinel.conf"
        config.write_text(SENTINEL.format(port=port, master=master.port))
        sentinel = Child("sentinel", [find_redis_server(), str(config), "--sentinel"], folder)
        on.stack.callback(sentinel.stop)
        with Redis.from_url(f"redis://127.0.0.1:{port}") as asked:
            sentinel.wait_ready(lambda: _knows_replica(asked), 30)
            env: Mapping[str, str] = {"VIMMON_REDIS_URL": f"redis+sentinel://127.0.0.1:{port}/vims/0"}
            vims = Watched(on, env=env)
            master.child.kill()
            vims.down(0)
            begun = time.monotonic()
            until(lambda: _promoted(asked, replica.port), 30, "the replica is promoted")
            row.done += f"; promoted after {time.monotonic() - begun:.1f} s"
        on.look_at(replica.url)
        return vims.judge(row)


def _knows_replica(sentinel: Redis) -> bool:
    try:
        return bool(_asked(sentinel, "REPLICAS"))
    except RedisError:
        return False


def _promoted(sentinel: Redis, port: int) -> bool:
    if int(_asked(sentinel, "GET-MASTER-ADDR-BY-NAME")[1]) != port:
        return False
    with Redis(port=port) as promoted:
        return bool(cast(dict[str, Any], promoted.info("replication"))["role"] == "master")


def _asked(sentinel: Redis, question: str) -> Any:
    return sentinel.execute_command("SENTINEL", question, "vims")  # type: ignore[no-untyped-call]  # redis-py
