"""A guard against getting slower that counts and does not time: commands, statements and bytes for a given work.

What is counted of Redis is every command that it carried out, those of scripts included, and every byte that went
through its sockets. Who makes the work cheaper lowers the numbers here; who has to raise one should know why.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, cast

import orjson
import pytest
from redis import Redis
from sqlalchemy import Engine

from tests.integration.bench import REPLIES, Bench, update_vim
from tests.integration.passes import EXECUTOR, HOLDER, Pass, alive, watched
from tests.support.polling import eventually
from tests.support.statements import executed
from vimmon.actions import client as calling
from vimmon.actions.checks import Checks
from vimmon.actions.client import Caller
from vimmon.actions.connection import connect
from vimmon.conductor.plan import Plan
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.lease.model import CommittedStatus, Lease
from vimmon.lease.store import LeaseStore
from vimmon.messages import update_of
from vimmon.registry.store import VimStore
from vimmon.settings import Settings
from vimmon.vim import Vim, VimStatus

BATCH = 100
ID = "00000000-0000-4000-8000-{:012}"
TAKING = dict.fromkeys(("blmove", "eval", "time", "lrange", "rpush", "ltrim", "zadd"), 1)
ANSWERING = {"rpush": 1, "expire": 1, "del": 1, "zrem": 1}


class Counted:
    """What Redis did since `measured` began: its commands, and the bytes that came in and went out."""

    commands: Counter[str]
    bytes_in: int
    bytes_out: int


@contextmanager
def measured(redis: Redis) -> Iterator[Counted]:
    """What is in the context counts, and nothing of this counting but the bytes of one CONFIG RESETSTAT."""
    counted = Counted()
    redis.config_resetstat()
    yield counted
    stats, commands = cast(Any, redis.info("stats")), cast(Any, redis.info("commandstats"))
    named = {name.removeprefix("cmdstat_"): numbers["calls"] for name, numbers in commands.items()}
    counted.commands = Counter(
        {name: calls for name, calls in named.items() if name not in ("config|resetstat", "info")}
    )
    counted.bytes_in, counted.bytes_out = stats["total_net_input_bytes"], stats["total_net_output_bytes"]


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """The statements that go to a database, each once, however many rows it has."""
    seen: list[str] = []

    with executed(engine, lambda _, statement, __: seen.append(" ".join(statement.split())[:60])):
        yield seen


@pytest.fixture
def costly(redis: Redis, engine: Engine) -> Bench:
    """A conductor on each kind of database."""
    return Bench(redis, engine)


def batch(vims: list[Vim], status: str, seq: int) -> list[dict[str, Any]]:
    return [
        update_vim(vim, status, seq=seq, holder=HOLDER, reason="HTTP 300 in 31 ms", id=ID.format(number))
        for number, vim in enumerate(vims)
    ]


def served(bench: Bench, requests: list[dict[str, Any]]) -> Counted:
    """What a batch costs from its taking to its answers."""
    bench.push(*requests)
    with measured(bench.redis) as counted:
        assert bench.server.serve_once(block_s=0.01) == len(requests)
    answers = [orjson.loads(reply)["result"]["status"] for reply in bench.redis.lrange(REPLIES, 0, -1)]
    bench.redis.delete(REPLIES)
    assert answers == [request["params"]["status"] for request in requests]
    return counted


def test_a_hundred_updates_cost_the_conductor_as_much_as_they_did(costly: Bench) -> None:
    vims = [costly.registered(f"vim-{number:03}") for number in range(BATCH)]
    served(costly, batch(vims, "REACHABLE", 1))  # connections are made, scripts are loaded
    with statements(costly.engine) as seen:
        changed = served(costly, batch(vims, "UNREACHABLE", 2))
    writing = {"mget": 2, "eval": 2, "time": 1, "set": BATCH, "xadd": BATCH, "xtrim": 1}
    assert changed.commands == Counter(TAKING) + Counter(writing) + Counter(ANSWERING)
    assert len(seen) == {"sqlite": 4, "postgresql": 1, "mysql": 4}[costly.engine.dialect.name], seen
    assert changed.bytes_in <= 45_000
    assert changed.bytes_out <= 43_600
    with statements(costly.engine) as seen:
        repeated = served(costly, batch(vims, "UNREACHABLE", 2))
    assert repeated.commands == Counter(TAKING) + Counter({"mget": 1}) + Counter(ANSWERING)
    assert seen == []
    assert repeated.bytes_in <= 25_300
    assert repeated.bytes_out <= 43_600


async def test_a_hundred_updates_cost_the_caller_as_much_as_they_did(
    redis_server: RedisServer, redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "KNOWN_FOR_S", 3600)
    client, ids, answered = connect(Settings.model_validate({"redis_url": redis_server.url})), count(1), list[str]()
    caller = Caller(
        client,
        keys,
        EXECUTOR,
        lambda update, _: answered.append(update.vim_id),
        new_id=lambda: ID.format(next(ids)),
        rng=random.Random(7),
        request_ttl_s=60,
        requests_max=1000,
    )
    task = asyncio.create_task(caller.run())

    sent_bytes: list[int] = []

    async def said_and_answered() -> None:
        answered.clear()
        for number in range(BATCH):
            update = {"vim_id": ID.format(number), "status": "REACHABLE", "action_id": "a", "generation": 1, "seq": 1}
            caller.say(update_of(update | {"holder": HOLDER, "reason": "HTTP 300 in 31 ms"}))
        await eventually(lambda: redis.llen(keys.requests) == BATCH)
        raw = cast(list[bytes], redis.lpop(keys.requests, BATCH))
        sent_bytes.append(sum(map(len, raw)))
        requests = [orjson.loads(one) for one in raw]
        replies = [orjson.dumps({"id": one["id"], "result": {"status": "REACHABLE"}}) for one in requests]
        redis.rpush(requests[0]["reply_to"], *replies)
        await eventually(lambda: len(answered) == BATCH)

    await said_and_answered()
    with measured(redis) as counted:
        await said_and_answered()
    assert counted.commands["rpush"] == 1 + 1  # ours, and that of this test in the conductor's place
    assert counted.commands["time"] == 0
    assert counted.commands["blmpop"] <= 2
    assert sent_bytes == [34_000, 34_000]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.aclose()


async def test_a_thousand_lease_checks_cost_as_much_as_they_did(
    redis_server: RedisServer, redis: Redis, keys: Keys
) -> None:
    vim_ids = [ID.format(number) for number in range(1000)]
    store = LeaseStore(redis, keys, ttl_s=900)
    lease, status = Lease(7, ID.format(0)), CommittedStatus(7, 12, VimStatus.REACHABLE, HOLDER)
    store.advance(dict.fromkeys(vim_ids, lease), dict.fromkeys(vim_ids, status), as_of_ms=store.now_ms())
    client = connect(Settings.model_validate({"redis_url": redis_server.url}))
    await client.ping()
    checks = Checks(client, keys, interval_s=0.06, rng=random.Random(7))
    checks._owed.update(vim_ids)
    with measured(redis) as counted:
        found = await checks.due()
    assert sorted(found) == [(vim_id, str(lease).encode(), str(status).encode()) for vim_id in vim_ids]
    assert counted.commands == {"mget": 2}
    assert counted.bytes_in <= 114_000
    assert counted.bytes_out <= 87_000
    await client.aclose()


def test_a_pass_with_nothing_to_do_costs_the_same_few_commands_however_many_vims_there_are(costly: Bench) -> None:
    def cost(number: int) -> tuple[Counted, list[str]]:
        vims = [watched(costly, f"{number}-{i}") for i in range(number)]
        held.update({vim.id: f"1:{vim.action_id}" for vim in vims})
        alive(costly, **held)
        run()
        run(after_s=61)
        with measured(costly.redis) as counted, statements(costly.engine) as seen:
            assert run() == Plan()
        return counted, seen

    held: dict[str, str] = {}
    run = Pass(costly).settled()
    few, seen = cost(3)
    more, more_seen = cost(30)
    assert few.commands == more.commands
    assert more.commands.total() <= 20
    assert more.commands["mget"] == 1
    assert more.bytes_in - few.bytes_in <= 30 * 120, "what a VIM more costs: the names of its two keys"
    assert more.bytes_out - few.bytes_out <= 30 * 110, "and their values"
    assert more_seen == seen
    assert len(seen) <= 3, seen


def test_the_counters_count(redis: Redis, store: VimStore, engine: Engine) -> None:
    """Else a guard that sees nothing would always hold."""
    with measured(redis) as counted, statements(engine) as seen:
        redis.set("a", "b")
        redis.get("a")
        store.list()
    assert counted.commands == {"set": 1, "get": 1}
    assert counted.bytes_in > 0
    assert len([one for one in seen if one.startswith("SELECT")]) == 1
