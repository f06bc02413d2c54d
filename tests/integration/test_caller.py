"""The calling side of the RPC, on a real Redis, with the test in the conductor's place."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tests.support.polling import eventually
from vimmon.actions.client import Caller
from vimmon.actions.connection import Line, connect
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.messages import TRY_AGAIN, Answer, UpdateVim, answer, error, update_of
from vimmon.settings import Settings

REPLIES = "vimmon:rpc:replies:mistral-1:42:ab12:1"
FIRST_RETRY_S = 0.06
DEEP = b"[" * 1015 + b"]" * 1015  # whose text cannot be had
ODD_REPLIES = [
    b"",
    b"\xff",
    b"not JSON",
    b"[1]",
    b"null",
    b"{}",
    b'{"id":"1"}',
    b'{"id":"1","result":null}',
    b'{"id":"1","result":{"status":"GONE"}}',
    b'{"id":"1","result":{"status":["REACHABLE"]}}',
    b'{"id":"1","result":{"status":"REACHABLE","seq":1e30}}',
    b'{"id":"1","result":{"status":"REACHABLE","more":1}}',
    b'{"id":"1","error":{"code":null}}',
    b'{"id":"1","error":{"code":[1]}}',
    b'{"id":"1","error":{"code":"x"}}',
    b'{"id":[],"result":{"status":"REACHABLE"}}',
    b'{"id":"nobody asked","result":{"status":"REACHABLE"}}',
    b"[" * 5000,
    b'{"id":"1","result":{"status":%b}}' % DEEP,
    b'{"id":%b,"result":{"status":"REACHABLE"}}' % DEEP,
    b'{"id":"nobody asked","error":{"code":1,"message":%b}}' % DEEP,
]


class Conductor:
    """Takes what the caller sends, and remembers all of it; answers what the test tells it to."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self.redis = redis
        self.keys = keys
        self.taken: list[dict[str, Any]] = []

    def take(self) -> list[dict[str, Any]]:
        """All that was sent until now."""
        raw = self.redis.lpop(self.keys.requests, 100_000) or []
        assert isinstance(raw, list)
        self.taken += map(orjson.loads, raw)
        return self.taken

    async def has_taken(self, many: int) -> list[dict[str, Any]]:
        await eventually(lambda: len(self.take()) >= many)
        return self.taken

    async def has_taken_of(self, vim_id: str) -> None:
        await eventually(lambda: vim_id in [one["params"]["vim_id"] for one in self.take()])

    def reply(self, *bodies: bytes) -> None:
        self.redis.rpush(REPLIES, *bodies)


class Heard(list[tuple[UpdateVim, Answer]]):
    def __call__(self, update: UpdateVim, reply: Answer) -> None:
        self.append((update, reply))

    async def as_many_as(self, number: int) -> None:
        await eventually(lambda: len(self) >= number)


def update(vim_id: str = "tokyo", seq: int = 1, status: str = "REACHABLE") -> UpdateVim:
    return update_of(
        {"vim_id": vim_id, "status": status, "action_id": "a7", "generation": 7, "seq": seq, "holder": "h"}
    )


@asynccontextmanager
async def calling(
    url: str, heard: Heard, *, requests_max: int = 100_000, first_retry_s: float = FIRST_RETRY_S
) -> AsyncIterator[Caller]:
    client: AsyncRedis = connect(Settings.model_validate({"redis_url": url}))
    numbers = count(1)
    caller = Caller(
        client,
        Keys("vimmon"),
        "mistral-1:42:ab12",
        heard,
        new_id=lambda: str(next(numbers)),
        rng=random.Random(7),
        request_ttl_s=60,
        requests_max=requests_max,
        first_retry_s=first_retry_s,
        last_retry_s=4 * first_retry_s,
        pause_s=0.05,
    )
    task = asyncio.create_task(caller.run())
    yield caller
    assert not task.done(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.aclose()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def caller(redis_server: RedisServer, redis: Redis, heard: Heard) -> AsyncIterator[Caller]:
    async with calling(redis_server.url, heard) as running:
        yield running


@pytest.fixture
def conductor(redis: Redis, keys: Keys) -> Conductor:
    return Conductor(redis, keys)


def calls_of(redis: Redis, command: str) -> int:
    stats: Any = redis.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


async def test_a_call_has_all_that_the_conductor_needs(caller: Caller, conductor: Conductor) -> None:
    caller.say(update())
    sent = (await conductor.has_taken(1))[0]
    assert sent.pop("expires_at") > 0
    assert sent == {
        "jsonrpc": "2.0",
        "id": "1",
        "method": "update_vim",
        "params": asdict(update()),
        "reply_to": REPLIES,
    }


async def test_a_call_expires_by_the_clock_of_redis_and_no_other(
    caller: Caller, conductor: Conductor, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1.0)
    before = redis.time()
    caller.say(update())
    expires_at = (await conductor.has_taken(1))[0]["expires_at"]
    after = redis.time()
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert before[0] * 1000 + 60_000 <= expires_at <= (after[0] + 1) * 1000 + 60_000


async def test_an_answer_is_heard_with_what_it_answers(caller: Caller, conductor: Conductor, heard: Heard) -> None:
    caller.say(update())
    await conductor.has_taken(1)
    conductor.reply(answer("1", Answer(status="bad_action")))
    await eventually(lambda: heard)
    assert heard == [(update(), Answer(status="bad_action"))]


async def test_a_thousand_statuses_take_a_few_commands(
    caller: Caller, conductor: Conductor, redis: Redis, heard: Heard
) -> None:
    redis.config_resetstat()
    for number in range(1000):
        caller.say(update(f"vim-{number}"))
    sent = await conductor.has_taken(1000)
    assert [one["params"]["vim_id"] for one in sent[:1000]] == [f"vim-{number}" for number in range(1000)]
    conductor.reply(*(answer(one["id"], Answer(status="REACHABLE")) for one in sent))
    await eventually(lambda: len(heard) == 1000)
    assert calls_of(redis, "rpush") - 1 <= 4
    assert calls_of(redis, "llen") <= 4
    assert calls_of(redis, "blmpop") <= 8


async def test_it_asks_nothing_of_redis_while_it_has_nothing_to_say(
    caller: Caller, conductor: Conductor, redis: Redis, heard: Heard
) -> None:
    caller.say(update())
    await conductor.has_taken(1)
    conductor.reply(answer("1", Answer(status="REACHABLE")))
    await eventually(lambda: heard)
    redis.config_resetstat()
    with pytest.raises(AssertionError):
        await eventually(lambda: calls_of(redis, "llen") + calls_of(redis, "rpush"), within_s=5 * FIRST_RETRY_S)


async def test_it_sends_again_under_the_same_id_and_ever_less_often_until_it_is_answered(
    caller: Caller, conductor: Conductor, heard: Heard
) -> None:
    caller.say(update(seq=5))
    sent = await conductor.has_taken(4)
    assert {(one["id"], one["params"]["seq"]) for one in sent} == {("1", 5)}
    waits_ms = [later["expires_at"] - earlier["expires_at"] for earlier, later in pairwise(sent[:4])]
    for wait_ms, doubled in zip(waits_ms, (1, 2, 4), strict=True):
        assert wait_ms >= 0.74 * doubled * FIRST_RETRY_S * 1000
    conductor.reply(answer("1", Answer(status="REACHABLE")))
    await eventually(lambda: heard)
    conductor.take().clear()
    with pytest.raises(AssertionError):
        await eventually(conductor.take, within_s=6 * FIRST_RETRY_S)


async def test_only_the_newest_status_of_a_vim_is_kept(caller: Caller, conductor: Conductor, heard: Heard) -> None:
    caller.say(update(seq=1))
    await conductor.has_taken(1)
    caller.say(update(seq=2, status="UNREACHABLE"))
    caller.say(update(seq=3))
    caller.say(update("osaka"))
    await eventually(lambda: {one["params"]["vim_id"] for one in conductor.take()} == {"tokyo", "osaka"})
    await conductor.has_taken(8)
    assert {one["params"]["seq"] for one in conductor.taken if one["params"]["vim_id"] == "tokyo"} == {1, 3}
    conductor.reply(answer("1", Answer(status="REACHABLE")))  # the overtaken one
    conductor.reply(answer("3", Answer(status="REACHABLE")), answer("3", Answer(status="REACHABLE")))
    await eventually(lambda: heard)
    assert heard == [(update(seq=3), Answer(status="REACHABLE"))]


def while_sending(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Has something happen while the next call is on its way to Redis."""

    ask = Line.ask

    async def send_and_act(line: Line, *words: Any) -> Any:
        if words[0] == "RPUSH":
            monkeypatch.setattr(Line, "ask", ask)
            act()
        return await ask(line, *words)

    monkeypatch.setattr(Line, "ask", send_and_act)


async def test_what_is_said_while_an_older_status_is_on_its_way_does_not_wait(
    redis_server: RedisServer, conductor: Conductor, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with calling(redis_server.url, heard, first_retry_s=60) as caller:
        while_sending(monkeypatch, lambda: caller.say(update(seq=2)))
        caller.say(update(seq=1))
        sent = await conductor.has_taken(2)
        assert [one["params"]["seq"] for one in sent] == [1, 2]


async def test_what_is_forgotten_on_its_way_is_not_sent_again(
    caller: Caller, conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_sending(monkeypatch, lambda: caller.forget("tokyo"))
    caller.say(update())
    await conductor.has_taken(1)
    caller.say(update("osaka"))
    sent = await conductor.has_taken(5)
    assert [one["params"]["vim_id"] for one in sent] == ["tokyo", *["osaka"] * (len(sent) - 1)]


async def test_what_is_forgotten_is_not_said(caller: Caller, conductor: Conductor) -> None:
    caller.say(update())
    caller.say(update("osaka"))
    caller.forget("tokyo")
    caller.forget("never said")
    await conductor.has_taken(3)
    assert {one["params"]["vim_id"] for one in conductor.taken} == {"osaka"}


async def test_it_holds_back_while_the_request_list_is_full(
    redis_server: RedisServer, redis: Redis, keys: Keys
) -> None:
    heard, conductor = Heard(), Conductor(redis, keys)
    redis.rpush(keys.requests, *[b"{}"] * 100)
    redis.config_resetstat()
    async with calling(redis_server.url, heard, requests_max=100) as caller:
        caller.say(update())
        await eventually(lambda: calls_of(redis, "llen") >= 3)
        assert redis.llen(keys.requests) == 100
        caller.say(update(seq=2))
        redis.lpop(keys.requests)
        await eventually(lambda: redis.llen(keys.requests) == 100)
        assert conductor.take()[-1]["params"]["seq"] == 2


@pytest.mark.parametrize("odd", ODD_REPLIES, ids=range(len(ODD_REPLIES)))
async def test_a_reply_that_is_none_is_passed_over(
    caller: Caller, conductor: Conductor, heard: Heard, odd: bytes
) -> None:
    caller.say(update())
    await conductor.has_taken(1)
    conductor.reply(odd, answer("1", Answer(status="REACHABLE")))
    await eventually(lambda: heard)
    assert heard == [(update(), Answer(status="REACHABLE"))]


async def test_a_call_that_failed_is_made_again(caller: Caller, conductor: Conductor, heard: Heard) -> None:
    caller.say(update())
    await conductor.has_taken(1)
    conductor.reply(error("1", TRY_AGAIN, "the database is away"))
    await conductor.has_taken(3)
    assert not heard
    conductor.reply(answer("1", Answer(status="REACHABLE")))
    await eventually(lambda: heard)


async def test_many_failed_calls_make_one_line_in_the_log(
    caller: Caller, conductor: Conductor, caplog: pytest.LogCaptureFixture, heard: Heard
) -> None:
    for number in range(50):
        caller.say(update(f"vim-{number}"))
    sent = await conductor.has_taken(50)
    conductor.reply(*(error(one["id"], TRY_AGAIN, "the database is away") for one in sent))
    conductor.reply(answer("50", Answer(status="REACHABLE")))
    await eventually(lambda: heard)
    assert len([record for record in caplog.records if "call_failed" in record.message]) == 1


async def test_a_bug_of_whoever_hears_the_answer_ends_nothing(redis_server: RedisServer, conductor: Conductor) -> None:
    class Deaf(Heard):
        def __call__(self, update: UpdateVim, reply: Answer) -> None:
            super().__call__(update, reply)
            if len(self) == 1:
                raise KeyError("a bug")

    heard = Deaf()
    async with calling(redis_server.url, heard) as caller:
        for number, vim_id in enumerate(("tokyo", "osaka"), 1):
            caller.say(update(vim_id))
            await conductor.has_taken_of(vim_id)
            conductor.reply(answer(str(number), Answer(status="REACHABLE")))
            await heard.as_many_as(number)


async def test_a_reply_list_of_another_type_is_waited_out(
    caller: Caller, conductor: Conductor, heard: Heard, redis: Redis
) -> None:
    redis.config_resetstat()
    redis.set(REPLIES, "somebody's mistake")
    caller.say(update())
    await eventually(lambda: "errorstat_WRONGTYPE" in redis.info("errorstats"))
    redis.delete(REPLIES)
    await conductor.has_taken(1)
    conductor.reply(answer("1", Answer(status="REACHABLE")))
    await eventually(lambda: heard)


async def test_what_still_holds_survives_an_outage_of_redis(
    tmp_path: Path, heard: Heard, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path, port=free_port())

    def logged(name: str) -> int:
        return sum(name in record.message for record in caplog.records)

    with server:
        async with calling(server.url, heard) as caller:
            caller.say(update("said-before", seq=1))
            caller.say(update("changes-meanwhile", seq=1))
            await Conductor(Redis.from_url(server.url), keys).has_taken(2)
            server.stop()
            caller.say(update("changes-meanwhile", seq=2, status="UNREACHABLE"))
            caller.say(update("said-meanwhile", seq=3))
            await eventually(lambda: logged("redis_away"))
            server.start()
            conductor = Conductor(Redis.from_url(server.url), keys)
            await eventually(lambda: len({one["params"]["vim_id"] for one in conductor.take()}) == 3)
            found = {(one["params"]["vim_id"], one["params"]["seq"]) for one in conductor.taken}
            assert found == {("said-before", 1), ("changes-meanwhile", 2), ("said-meanwhile", 3)}
            for request_id in {one["id"] for one in conductor.taken}:
                conductor.reply(answer(request_id, Answer(status="REACHABLE")))
            await eventually(lambda: len(heard) == 3)
    assert logged("redis_away") <= 4  # for each of sending and receiving, at either end of a connection


async def test_ten_thousand_statuses_that_change_one_by_one_are_no_work_for_each_other(
    redis_server: RedisServer, redis: Redis, heard: Heard
) -> None:
    async with calling(redis_server.url, heard) as caller:
        for number in range(10_000):
            caller.say(update(f"vim-{number}"))
        started = time.process_time()
        for number in range(10_000):
            caller.say(update(f"vim-{number}", seq=2))
        assert time.process_time() - started < 2
        assert len(caller._due) == 10_000
        assert len(caller._asked) == 10_000
