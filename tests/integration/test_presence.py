"""An executor's sign of life and its held list, on a real Redis: written, kept alive, mended where Redis lost it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support.polling import eventually
from vimmon import __version__
from vimmon.actions.connection import connect
from vimmon.actions.presence import BULK, Presence, new_executor_id
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.settings import Settings

ME = "mistral-1:42:ab12"
KEY, HELD, SEEN = f"vimmon:executor:{ME}", f"vimmon:executor:{ME}:held", f"vimmon:executor:{ME}:seen"
BEAT_S = 0.1


class Executor:
    """What a host does for its presence: holds, and tells when that changes."""

    def __init__(self, url: str, **times: float) -> None:
        self.redis = connect(Settings.model_validate({"redis_url": url}))
        self.held: dict[str, Lease] = {}
        times = {"beat_s": BEAT_S, "ttl_s": 30, "seen_s": 0.1} | times
        self.metrics: Callable[[float | None], dict[str, bytes]] = lambda _: {"running": b"0"}
        self.presence = Presence(
            self.redis, Keys("vimmon"), ME, self.held, lambda oldest_s: self.metrics(oldest_s), **times
        )

    def hold(self, *vim_ids: str, generation: int = 7) -> None:
        for vim_id in vim_ids:
            self.held[vim_id] = Lease(generation, f"a{generation}")
            self.presence.touch(vim_id)

    def let_go(self, vim_id: str) -> None:
        del self.held[vim_id]
        self.presence.touch(vim_id)


@asynccontextmanager
async def living(url: str, **times: float) -> AsyncIterator[Executor]:
    executor = Executor(url, **times)
    task = asyncio.create_task(executor.presence.run())
    yield executor
    assert not task.done(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await executor.redis.aclose()


@pytest.fixture
async def executor(redis_server: RedisServer, redis: Redis) -> AsyncIterator[Executor]:
    async with living(redis_server.url) as running:
        yield running


def saw(executor: Executor, vim_id: str) -> None:
    executor.presence.saw([vim_id], asyncio.get_running_loop().time())


def hash_of(redis: Redis, key: str) -> dict[str, str]:
    found: Any = redis.hgetall(key)
    return {field.decode(errors="replace"): value.decode() for field, value in found.items()}


def leases(*vim_ids: str, generation: int = 7) -> dict[str, str]:
    return dict.fromkeys(vim_ids, f"{generation}:a{generation}")


def calls_of(redis: Redis, command: str) -> int:
    stats: Any = redis.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


def test_an_executor_id_is_never_the_same_twice() -> None:
    ids = {new_executor_id("mistral-1") for _ in range(100)}
    assert len(ids) == 100
    assert all(one.startswith(f"mistral-1:{os.getpid()}:") for one in ids)


async def test_a_heartbeat_says_who_lives_where(executor: Executor, redis: Redis) -> None:
    executor.hold("tokyo", "osaka")
    await eventually(lambda: hash_of(redis, KEY).get("held_rev") == "2")
    found = hash_of(redis, KEY)
    seconds, _ = redis.time()
    assert seconds - 60 <= int(found.pop("started")) <= seconds
    assert found == {
        "host": os.uname().nodename,
        "pid": str(os.getpid()),
        "version": __version__,
        "monitors": "2",
        "held_rev": "2",
        "prober_degraded": "0",
    }


async def test_an_executor_without_monitors_lives_too(executor: Executor, redis: Redis) -> None:
    await eventually(lambda: hash_of(redis, KEY).get("monitors") == "0")
    redis.config_resetstat()
    await eventually(lambda: calls_of(redis, "zadd") >= 2)
    assert hash_of(redis, KEY)["held_rev"] == "0"
    assert redis.keys("*held*") == []


async def test_living_executors_are_found_by_the_index(executor: Executor, redis: Redis) -> None:
    await eventually(lambda: redis.zscore("vimmon:executors", ME))
    score: Any = redis.zscore("vimmon:executors", ME)
    seconds, _ = redis.time()
    assert seconds - 60 <= score <= seconds


async def test_every_key_dies_with_its_executor(redis_server: RedisServer, redis: Redis) -> None:
    async with living(redis_server.url, beat_s=0.1, ttl_s=0.6) as executor:
        executor.hold("tokyo")
        saw(executor, "tokyo")
        await eventually(lambda: redis.exists(KEY, HELD, SEEN) == 3)
        redis.config_resetstat()
        await eventually(lambda: calls_of(redis, "zadd") >= 9)  # a life and a half
        assert redis.exists(KEY, HELD, SEEN) == 3
        assert all(0 < redis.pttl(key) <= 600 for key in (KEY, HELD, SEEN))
    await eventually(lambda: redis.exists(KEY, HELD, SEEN) == 0)


async def test_the_held_list_follows_what_is_held(executor: Executor, redis: Redis) -> None:
    executor.hold("tokyo", "osaka")
    await eventually(lambda: hash_of(redis, HELD) == leases("tokyo", "osaka"))
    executor.hold("tokyo", generation=8)
    executor.let_go("osaka")
    await eventually(lambda: hash_of(redis, HELD) == leases("tokyo", generation=8))
    assert hash_of(redis, KEY)["held_rev"] == "4"
    executor.let_go("tokyo")
    await eventually(lambda: not redis.exists(HELD))
    assert hash_of(redis, KEY)["monitors"] == "0"


async def test_many_changes_make_few_writes(redis_server: RedisServer, redis: Redis) -> None:
    async with living(redis_server.url, beat_s=30, seen_s=60) as executor:
        await eventually(lambda: "held_rev" in hash_of(redis, KEY))
        redis.config_resetstat()
        for number in range(3 * BULK):
            executor.hold(f"vim-{number}")
            if number % 100 == 0:
                await asyncio.sleep(0)
        await eventually(lambda: hash_of(redis, KEY).get("held_rev") == str(3 * BULK))
        assert redis.hlen(HELD) == 3 * BULK
        assert calls_of(redis, "hset") <= 3 * BULK / 50


async def test_the_revision_is_not_ahead_of_the_list_that_it_stands_for(
    redis_server: RedisServer, redis: Redis
) -> None:
    """A reader that knows this revision may believe that it knows the list."""
    async with living(redis_server.url, beat_s=30, seen_s=60) as executor:
        await eventually(lambda: "held_rev" in hash_of(redis, KEY))
        lengths: dict[int, int] = {}
        write = executor.presence._write_held

        async def write_and_look(vim_ids: Any, rev: int) -> None:
            await write(vim_ids, rev)
            lengths[int(hash_of(redis, KEY)["held_rev"])] = int(redis.hlen(HELD))

        executor.presence._write_held = write_and_look  # type: ignore[method-assign]
        executor.hold(*(f"vim-{number}" for number in range(3 * BULK)))
        await eventually(lambda: len(lengths) == 2)
        assert lengths == {0: 2 * BULK, 3 * BULK: 3 * BULK}


async def test_what_changes_while_it_is_being_written_is_written_again(redis_server: RedisServer, redis: Redis) -> None:
    async with living(redis_server.url, beat_s=30, seen_s=60) as executor:
        await eventually(lambda: "held_rev" in hash_of(redis, KEY))
        write = executor.presence._write_held

        async def write_slowly(vim_ids: Any, rev: int) -> None:
            executor.presence._write_held = write  # type: ignore[method-assign]
            await write(vim_ids, rev)
            executor.hold("tokyo", generation=8)

        executor.presence._write_held = write_slowly  # type: ignore[method-assign]
        executor.hold("tokyo")
        await eventually(lambda: hash_of(redis, HELD) == leases("tokyo", generation=8))


async def test_a_write_that_failed_is_made_again(redis_server: RedisServer, redis: Redis) -> None:
    async with living(redis_server.url, beat_s=30, seen_s=60) as executor:
        await eventually(lambda: "held_rev" in hash_of(redis, KEY))
        write = executor.presence._write_held

        async def fail(vim_ids: Any, rev: int) -> None:
            executor.presence._write_held = write  # type: ignore[method-assign]
            raise RedisConnectionError("reset by peer")

        executor.presence._write_held = fail  # type: ignore[method-assign]
        executor.hold("tokyo")
        await eventually(lambda: hash_of(redis, HELD) == leases("tokyo"))


async def test_a_flushed_redis_is_healed_by_the_next_beat(executor: Executor, redis: Redis) -> None:
    executor.hold("tokyo", "osaka")
    await eventually(lambda: redis.hlen(HELD) == 2 and redis.exists(SEEN))
    redis.flushall()
    await eventually(lambda: hash_of(redis, HELD) == leases("tokyo", "osaka"))
    await eventually(lambda: hash_of(redis, SEEN).keys() == {"tokyo", "osaka"})
    assert redis.zscore("vimmon:executors", ME)
    assert all(redis.pttl(key) > 0 for key in (KEY, HELD, SEEN))


async def test_a_list_of_the_right_length_from_the_past_is_written_anew(executor: Executor, redis: Redis) -> None:
    """As after a failover to a replica that was behind."""
    executor.hold("tokyo", "osaka")
    await eventually(lambda: redis.hlen(HELD) == 2)
    past = {key: redis.dump(key) for key in (KEY, HELD)}
    executor.hold("tokyo", generation=8)
    executor.hold("kyoto")
    executor.let_go("osaka")
    await eventually(lambda: hash_of(redis, HELD) == leases("kyoto") | leases("tokyo", generation=8))
    for key, value in past.items():
        redis.restore(key, 30_000, value, replace=True)  # type: ignore[arg-type]
    await eventually(lambda: hash_of(redis, HELD) == leases("kyoto") | leases("tokyo", generation=8))


async def test_a_list_with_a_stranger_is_put_right(executor: Executor, redis: Redis) -> None:
    executor.hold("tokyo")
    await eventually(lambda: redis.hlen(HELD) == 1)
    redis.hset(HELD, mapping={"stranger": "1:x", b"\xff\xfe": "1:y"})
    await eventually(lambda: hash_of(redis, HELD) == leases("tokyo"))


async def test_a_list_that_is_right_is_left_alone(executor: Executor, redis: Redis) -> None:
    executor.hold("tokyo")
    await eventually(lambda: redis.hlen(HELD) == 1)
    redis.config_resetstat()
    await eventually(lambda: calls_of(redis, "zadd") >= 3)
    assert calls_of(redis, "hkeys") == 0
    assert hash_of(redis, KEY)["held_rev"] == "1"


async def test_when_a_vim_was_last_looked_at_is_told_by_the_clock_of_redis(executor: Executor, redis: Redis) -> None:
    seconds, _ = redis.time()
    executor.hold("tokyo")
    await eventually(lambda: "tokyo" in hash_of(redis, SEEN))
    later, _ = redis.time()
    assert seconds - 1 <= float(hash_of(redis, SEEN)["tokyo"]) <= later + 1


async def seen_long_ago(executor: Executor, redis: Redis) -> float:
    """A VIM that was last looked at 1,000 s ago; when that was, as Redis has it."""
    executor.hold("tokyo")
    executor.presence._seen["tokyo"] -= 1000
    seconds, _ = redis.time()
    await eventually(lambda: float(hash_of(redis, SEEN).get("tokyo", "inf")) < seconds - 900)
    return float(hash_of(redis, SEEN)["tokyo"])


async def test_what_is_told_late_is_not_taken_for_the_last_look(executor: Executor) -> None:
    executor.hold("v-1")
    now = executor.presence._clock() + 1
    executor.presence.saw(["v-1"], now)
    executor.presence.saw(["v-1"], now - 0.9)
    assert executor.presence._seen == {"v-1": now}


async def test_when_a_hung_one_was_last_looked_at_is_told_again_when_redis_forgot_it(
    executor: Executor, redis: Redis
) -> None:
    before = await seen_long_ago(executor, redis)
    redis.delete(SEEN)
    await eventually(lambda: redis.exists(SEEN))
    assert float(hash_of(redis, SEEN)["tokyo"]) == pytest.approx(before, abs=0.5)


async def test_what_an_earlier_action_saw_does_not_count_for_the_next_one(
    redis_server: RedisServer, redis: Redis
) -> None:
    async with living(redis_server.url, seen_s=60) as executor:
        executor.presence._next_seen = 0.0
        before = await seen_long_ago(executor, redis)
        executor.hold("tokyo", generation=8)
        await eventually(lambda: hash_of(redis, HELD) == {"tokyo": "8:a8"})
        assert float(hash_of(redis, SEEN)["tokyo"]) > before + 900, "with its entry in the held list, and not later"


async def test_a_vim_that_is_let_go_is_not_seen_any_more(executor: Executor, redis: Redis) -> None:
    executor.hold("tokyo", "osaka")
    saw(executor, "tokyo")
    saw(executor, "osaka")
    await eventually(lambda: redis.hlen(SEEN) == 2)
    saw(executor, "tokyo")
    executor.let_go("tokyo")
    await eventually(lambda: list(hash_of(redis, HELD)) == ["osaka"])
    redis.config_resetstat()
    await eventually(lambda: calls_of(redis, "zadd") >= 2)
    assert list(hash_of(redis, SEEN)) == ["osaka"]
    assert list(executor.presence._seen) == ["osaka"]


async def test_what_a_redis_out_of_memory_cannot_be_told_anew_does_not_live_on(
    redis_server: RedisServer, redis: Redis
) -> None:
    """Else its VIMs would seem to be held by somebody who does not look at them any more."""
    async with living(redis_server.url, ttl_s=0.5) as executor:
        executor.hold("tokyo")
        saw(executor, "tokyo")
        await eventually(lambda: redis.exists(KEY, HELD, SEEN) == 3)
        redis.config_set("maxmemory", 1)
        try:
            await eventually(lambda: redis.exists(KEY, HELD, SEEN) == 0)
        finally:
            redis.config_set("maxmemory", 0)
        await eventually(lambda: redis.exists(KEY, HELD, SEEN) == 3)
        assert hash_of(redis, HELD) == leases("tokyo")


def times_logged(caplog: pytest.LogCaptureFixture, name: str) -> int:
    return sum(name in record.message for record in caplog.records)


async def test_it_is_back_when_redis_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    server = RedisServer(tmp_path, port=free_port())
    with server:
        async with living(server.url) as executor:
            executor.hold("tokyo", "osaka")
            saw(executor, "tokyo")
            redis = Redis.from_url(server.url)
            await eventually(lambda: redis.hlen(HELD) == 2 and redis.exists(SEEN))
            server.stop()
            executor.let_go("osaka")
            executor.hold("kyoto")
            saw(executor, "kyoto")
            await eventually(lambda: "redis_away" in caplog.text)
            server.start()
            await eventually(lambda: hash_of(redis, HELD) == leases("tokyo", "kyoto"))
            await eventually(lambda: hash_of(redis, SEEN).keys() == {"tokyo", "kyoto"})
            assert hash_of(redis, KEY)["monitors"] == "2"
            await eventually(lambda: "task_goes_on" in caplog.text)
            await eventually(lambda: executor.presence.silent_s < BEAT_S)
            await eventually(lambda: times_logged(caplog, "task_goes_on") == 1)
    assert times_logged(caplog, "redis_away") == 1
    assert "task_goes_on task=presence after_s=" in caplog.text


async def test_figures_that_cannot_be_made_keep_nobody_from_being_seen(executor: Executor, redis: Redis) -> None:
    def fail(oldest_s: float | None) -> dict[str, bytes]:
        raise ValueError("a bug")

    await eventually(lambda: redis.exists(Keys("vimmon").metrics(ME)))
    executor.metrics = fail
    redis.delete(KEY)
    executor.hold("v")
    await eventually(lambda: redis.hget(HELD, "v") and redis.hget(SEEN, "v") and redis.exists(KEY))
    seen = redis.hget(SEEN, "v")
    saw(executor, "v")
    await eventually(lambda: redis.hget(SEEN, "v") != seen)


async def test_figures_that_are_written_between_two_beats_expire_all_the_same(
    redis_server: RedisServer, redis: Redis
) -> None:
    key = Keys("vimmon").metrics(ME)
    async with living(redis_server.url, beat_s=60, ttl_s=120, seen_s=0.05) as executor:

        def written() -> object:
            executor.hold("v")  # wakes it
            return redis.exists(key)

        await eventually(written)
        assert 0 < redis.pttl(key) <= 120_000
