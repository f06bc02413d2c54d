"""A conductor that is late, or dies at the worst moment: what the others did meanwhile stands."""

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from tests.chaos.valve import Valve
from tests.integration.bench import REPLIES, Bench, update_vim, upkeep
from tests.support.polling import eventually, until
from vimmon.conductor.presence import Presence
from vimmon.conductor.requests import RequestList
from vimmon.conductor.server import Server
from vimmon.embedded.redis import RedisServer
from vimmon.lease import store
from vimmon.lease.commands import Commands
from vimmon.lease.connection import connect
from vimmon.lease.model import Lease
from vimmon.registry.reports import Reported
from vimmon.registry.store import Recorded, VimStore
from vimmon.settings import Settings

TOO_OLD_MS = 100


class PausedAfterCommit(VimStore):
    """A paused process: between its commit and what it does next, `meanwhile` happens."""

    def __init__(self, bench: Bench, meanwhile: Callable[[], None]) -> None:
        super().__init__(bench.engine)
        self._meanwhile = meanwhile

    def record_statuses(self, reports: Sequence[Reported]) -> list[Recorded]:
        recorded = super().record_statuses(reports)
        self._meanwhile()
        return recorded


def test_a_conductor_that_was_paused_before_its_cache_write_puts_nothing_old_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys that would have refused it were lost meanwhile: only the age of what it has to write can."""
    monkeypatch.setattr(store, "OLDEST_READING_MS", TOO_OLD_MS)
    vim = bench.registered()

    def meanwhile() -> None:
        new = bench.restarted(vim)
        bench.leases.grant(vim.id, Lease(new.generation, new.action_id))
        bench.redis.delete(bench.keys.lease(vim.id), bench.keys.status(vim.id))
        woken_ms = bench.leases.now_ms() + 2 * TOO_OLD_MS
        while bench.leases.now_ms() < woken_ms:
            pass

    paused = Server(
        bench.requests, bench.leases, PausedAfterCommit(bench, meanwhile), redis=bench.redis, keys=bench.keys, batch=100
    )
    bench.push(update_vim(vim, seq=1))
    paused.serve_once(block_s=0.01)
    assert bench.row(vim)["generation"] == 2
    assert bench.redis.exists(bench.keys.lease(vim.id), bench.keys.status(vim.id)) == 0


@pytest.fixture
def valve(redis_server: RedisServer) -> Iterator[Valve]:
    with Valve(redis_server.port) as valve:
        yield valve


async def test_a_conductor_that_dies_in_its_blocking_take_is_found_by_the_index_at_once(
    bench: Bench, valve: Valve, redis: Redis
) -> None:
    """Redis has moved the request into its hand, and it has never heard of it."""
    with connect(Settings.model_validate({"redis_url": valve.redis_url})) as its_own:
        dying = RequestList(its_own, bench.keys, bench.conductor_id)
        thread = threading.Thread(target=take_and_die, args=[dying])
        thread.start()
        await eventually(lambda: redis.info("clients")["blocked_clients"] == 1)
        valve.hold()
        bench.push(b"1")
        valve.shut()
        valve.open()
        thread.join(10)
    assert redis.llen(bench.keys.requests) == 0
    assert upkeep(bench).fetch_back() == 1
    assert redis.lrange(bench.keys.requests, 0, -1) == [b"!0 1"]


@pytest.mark.parametrize("asked", [[b"1"], []], ids=["a request comes just then", "none comes"])
def test_a_waiting_that_is_broken_off_keeps_back_nothing_that_was_taken(
    bench: Bench, redis: Redis, redis_server: RedisServer, asked: list[bytes]
) -> None:
    """As it is by CLIENT UNBLOCK, or by a Redis that is out of memory for a moment: as long as this conductor lives,
    nobody else would look at what it has taken for a minute."""
    with connect(Settings.model_validate({"redis_url": redis_server.url})) as its_own:
        taking, commands = RequestList(its_own, bench.keys, bench.conductor_id), Commands(its_own)
        taken = taking.queue_take(commands, 10, block_s=2.5)

        def break_off() -> None:
            until(lambda: redis.info("clients")["blocked_clients"] == 1)
            (waiting,) = [client["id"] for client in redis.client_list() if client["cmd"] == "blmove"]
            both = redis.pipeline()  # a transaction: it has not yet woken when it is broken off
            if asked:
                both.rpush(bench.keys.requests, *asked)
            both.client_unblock(int(waiting), error=True)
            both.execute()

        results = commands.run(break_off)
    assert isinstance(results[0], ResponseError)
    if asked:
        batch = taking.taken(taken, results)
        assert batch is not None
        assert batch.requests == (*asked,)
    else:
        with pytest.raises(ResponseError, match="UNBLOCKED"):  # not None: it would be asked again without a pause
            taking.taken(taken, results)


def test_a_conductor_whose_counting_fails_goes_on_beating(bench: Bench) -> None:
    """Without a heartbeat its batches would be taken away one after another, and their requests buried in the end."""
    counted: list[int] = []

    def fails() -> None:
        counted.append(1)
        raise ZeroDivisionError

    presence = Presence(bench.redis, bench.keys, bench.conductor_id, beat_s=0.01, ttl_s=15, also=fails)
    presence.start()
    try:
        until(lambda: len(counted) > 2)
        bench.redis.delete(bench.keys.conductor(bench.conductor_id))
        until(lambda: bench.redis.exists(bench.keys.conductor(bench.conductor_id)))
    finally:
        presence.stop()
    assert not bench.redis.exists(bench.keys.conductor(bench.conductor_id))


def test_the_batch_in_hand_when_a_conductor_is_told_to_leave_is_answered(bench: Bench) -> None:
    stop = threading.Event()
    vims = PausedAfterCommit(bench, stop.set)
    server = Server(bench.requests, bench.leases, vims, redis=bench.redis, keys=bench.keys, batch=100)
    bench.push(update_vim(bench.registered(), id="1"))
    server.serve(stop)
    assert [reply["id"] for reply in bench.replies()] == ["1"]
    assert bench.redis.keys("vimmon:rpc:taken*") == []


async def test_an_answer_that_redis_refuses_is_told_while_it_serves_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.redis.set(REPLIES, "no list")
    bench.push(update_vim(bench.registered()))
    stop = threading.Event()
    thread = threading.Thread(target=bench.server.serve, args=[stop])
    thread.start()
    try:
        await eventually(lambda: "reply_refused" in caplog.text)
    finally:
        stop.set()
        thread.join(10)


async def test_a_conductor_says_how_long_redis_was_away(
    bench: Bench, valve: Valve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="vimmon.conductor.server")
    valve.shut()
    stop = threading.Event()
    with connect(Settings.model_validate({"redis_url": valve.redis_url})) as its_own:
        server = Bench(its_own, bench.engine).server
        thread = threading.Thread(target=server.serve, args=[stop], kwargs={"pause": lambda _: valve.open()})
        thread.start()
        try:
            await eventually(lambda: "redis_back" in caplog.text)
        finally:
            stop.set()
            thread.join(10)
    assert re.search(r"redis_back away_s=[0-9.]+$", caplog.text, re.MULTILINE)


def take_and_die(dying: RequestList) -> None:
    with pytest.raises(RedisConnectionError):
        dying.take(1, block_s=2.5)
