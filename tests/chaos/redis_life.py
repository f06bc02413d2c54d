"""Rows: Redis flushed, restarted, loading, away, and replaced by its replica. Nobody may exit, or be restarted."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from tests.chaos.ground import ground
from tests.chaos.rows import POLL_S, Row, Scale, until
from tests.chaos.watching import VIMS, Watched, watched
from vimmon.embedded.process import Child, free_port
from vimmon.embedded.redis import RedisServer, find_redis_server

FILLER_BYTES = 400
SENTINEL = """\
port {port}
bind 127.0.0.1
sentinel monitor vims 127.0.0.1 {master} 1
sentinel down-after-milliseconds vims 1000
sentinel failover-timeout vims 5000
"""


def flushed(vims: Watched) -> Row:
    row, scale = Row("FLUSHALL", "3 times, two VIMs going down, or up again, at the same time"), vims.on.scale
    for number in range(3):
        until(vims.healed, scale.s(90) + scale.slack_s, "healed before the next")
        vims.down(2 * number)
        vims.down(2 * number + 1)
        vims.on.redis.flushall()
        vims.up(2 * number + 1)
    return vims.judge(row)


def restarted_empty(vims: Watched) -> Row:
    row = Row("Redis restarted empty")
    _restarted(vims, row, before_start=vims.on.forget_data)
    return vims.judge(row)


def restarted_with_data(vims: Watched) -> Row:
    row = Row("Redis killed, restarted with its data")
    vims.on.rewrite()
    _restarted(vims, row)
    row.must(vims.on.leases.read(vims.ids)[0].lease, "its data are gone")
    return vims.judge(row)


def loading(vims: Watched) -> Row:
    """It answers -LOADING to everything as long as it reads its data."""
    row, redis = Row("Redis killed, restarted with a large data set"), vims.on.redis
    loads_s = vims.on.scale.count(12, 3)  # in 20 s it must have started
    names = [f"filler:{number}" for number in range(loads_s * 1000)]  # each takes it a ms
    redis.mset(dict.fromkeys(names, "x" * FILLER_BYTES))
    vims.on.rewrite()
    with _refusals(vims.on.redis_server.url) as refusals:
        _restarted(vims, row)
    redis.delete(*names)
    row.done += f"; then LOADING for {refusals.lasted_s:.1f} s"
    row.must(refusals.lasted_s > loads_s / 2, "it was not LOADING for long enough")
    return vims.judge(row)


def _restarted(vims: Watched, row: Row, *, before_start: Callable[[], object] | None = None) -> None:
    scale = vims.on.scale
    away_s = scale.s(30)
    row.done = f"gone for {away_s:g} s, a VIM going down meanwhile, one before, one up again"
    vims.down(0)
    vims.down(1)
    until(vims.healed, scale.s(90) + scale.slack_s, "two VIMs down")
    vims.on.redis_server.child.kill()
    vims.on.redis_server.stop()
    vims.down(2)
    vims.up(1)
    time.sleep(away_s)
    if before_start is not None:
        before_start()
    vims.on.redis_server.start()


class _Refusals:
    """How long Redis was seen to answer that it is loading."""

    first_s = last_s = 0.0

    @property
    def lasted_s(self) -> float:
        return self.last_s - self.first_s

    def look(self, redis: Redis, stop: threading.Event) -> None:
        while not stop.wait(POLL_S):
            with contextlib.suppress(RedisConnectionError, RedisTimeoutError):
                try:
                    redis.ping()
                except BusyLoadingError:
                    self.last_s = time.monotonic()
                    self.first_s = self.first_s or self.last_s


@contextmanager
def _refusals(url: str) -> Iterator[_Refusals]:
    refusals, stop = _Refusals(), threading.Event()
    with Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as asked:
        thread = threading.Thread(target=refusals.look, args=[asked, stop])
        thread.start()
        try:
            yield refusals
        finally:
            stop.set()
            thread.join()


def away(folder: Path, scale: Scale) -> Row:
    away_s = scale.s(600)
    row = Row("Redis away", f"{away_s:g} s: first refusing, then silent; VIMs go down, and up again")
    with watched(folder, scale) as vims:
        for valve in vims.valves:
            valve.shut()
        vims.down(0)
        vims.down(1)
        time.sleep(away_s / 2)
        for valve in vims.valves:
            valve.hold()
        vims.up(1)
        vims.down(2)
        time.sleep(away_s / 2)
        for valve in vims.valves:
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
