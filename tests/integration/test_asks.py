"""What an operator asks of the executor that holds a VIM: real parts, and a real server that is probed."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis import Redis

from tests.integration.hosting import KEYS, ME, Conductor, ScriptedProber, assignment_of, hosting, of
from tests.support.endpoints import Endpoint
from tests.support.polling import eventually
from vimmon.actions.host import Host
from vimmon.actions.probing import Prober
from vimmon.asks import STILL_S, Ask, Found
from vimmon.embedded.redis import RedisServer
from vimmon.lease.asker import Asker, ExecutorSilent, NobodyHolds
from vimmon.lease.view import LeaseView
from vimmon.probes import Outcome
from vimmon.vim import Vim, VimStatus

SELDOM_S = 600.0


@pytest.fixture
async def probing_host(redis_server: RedisServer, redis: Redis) -> AsyncIterator[Host]:
    async with Prober() as prober, hosting(redis_server.url, prober) as running:
        yield running


@pytest.fixture
def asker(redis: Redis) -> Asker:
    return Asker(redis, KEYS, LeaseView(redis, KEYS))


async def held(host: Host, conductor: Conductor, redis: Redis, auth_url: str | None = None) -> Vim:
    """A VIM that this host watches, and probes but once in the test by itself."""
    vim = conductor.register(auth_url)
    assignment = assignment_of(vim)
    assert host.take_on(replace(assignment, probe=assignment.probe.model_copy(update={"interval_s": SELDOM_S})))
    await eventually(lambda: redis.hexists(KEYS.held(ME), vim.id))
    return vim


async def check(asker: Asker, vim: Vim, *, timeout_s: float = 10) -> Found:
    return await asyncio.to_thread(asker.check, vim, timeout_s=timeout_s)


async def test_the_executor_probes_at_once_and_tells_what_it_found_where_and_how_long_each_part_took(
    probing_host: Host, conductor: Conductor, redis: Redis, asker: Asker
) -> None:
    with Endpoint() as endpoint:
        vim = await held(probing_host, conductor, redis, endpoint.url())
        await conductor.says(vim, VimStatus.REACHABLE)
        found = await check(asker, vim)
        assert (found.status, found.executor) == (VimStatus.REACHABLE, ME)
        assert found.reason.startswith("connected in ")
        assert found.address == f"127.0.0.1:{endpoint.port}"
        assert found.phases.connect_ms is not None
        assert found.phases.tls_ms is None
        endpoint.stop()
        assert (await check(asker, vim)).reason == "connection refused"
    assert conductor.row(vim)[0] == VimStatus.REACHABLE, "what was asked changes no status"


async def test_a_vim_that_nobody_holds_is_refused_with_a_remedy(conductor: Conductor, asker: Asker) -> None:
    with pytest.raises(NobodyHolds, match="nobody holds VIM") as refused:
        await check(asker, conductor.register())
    assert "vimmon lease show" in refused.value.remedy


async def test_an_executor_that_has_let_go_of_it_meanwhile_says_so(
    probing_host: Host, conductor: Conductor, redis: Redis, asker: Asker
) -> None:
    vim = await held(probing_host, conductor, redis, "http://127.0.0.1:9")
    probing_host._monitors.clear()
    with pytest.raises(NobodyHolds):
        await check(asker, vim)


async def test_an_executor_that_does_not_answer_is_named_and_does_not_find_the_ask_much_later(
    conductor: Conductor, redis: Redis, asker: Asker
) -> None:
    vim = conductor.register()
    redis.zadd(KEYS.executors, {ME: 1})
    redis.hset(KEYS.executor(ME), "monitors", "1")
    redis.expire(KEYS.executor(ME), 30)
    redis.hset(KEYS.held(ME), vim.id, f"{vim.generation}:{vim.action_id}")
    with pytest.raises(ExecutorSilent, match=ME):
        await check(asker, vim, timeout_s=0.05)
    assert redis.llen(KEYS.asks(ME)) == 1
    assert 0 < redis.pttl(KEYS.asks(ME)) <= 30_000


async def test_rubbish_among_the_asks_is_left_unanswered_and_stops_nobody(
    probing_host: Host, conductor: Conductor, redis: Redis, asker: Asker
) -> None:
    with Endpoint() as endpoint:
        vim = await held(probing_host, conductor, redis, endpoint.url())
        other = Ask(id="x", vim_id=vim.id).model_dump_json().replace('"x"', '"../lease:v"')
        redis.rpush(KEYS.asks(ME), b"", b"[]", b"\xff", b"{" * 10_000, other)
        assert (await check(asker, vim)).status == VimStatus.REACHABLE
    assert redis.keys(f"{KEYS.prefix}:executor:{ME}:answer:*") == []


async def test_as_many_as_are_asked_at_once_are_answered(
    probing_host: Host, conductor: Conductor, redis: Redis, asker: Asker
) -> None:
    with Endpoint() as endpoint:
        vim = await held(probing_host, conductor, redis, endpoint.url())
        found = await asyncio.gather(*[check(asker, vim) for _ in range(30)])
    assert {one.status for one in found} == {VimStatus.REACHABLE}


async def test_those_who_ask_for_a_vim_that_keeps_silent_do_not_hold_up_one_who_asks_for_another(
    host: Host, conductor: Conductor, redis: Redis, asker: Asker, prober: ScriptedProber
) -> None:
    silent, other = await held(host, conductor, redis), await held(host, conductor, redis)
    prober.hang.add(of(silent))
    redis.rpush(KEYS.asks(ME), *(Ask(id=f"ask-{i}", vim_id=silent.id).model_dump_json() for i in range(20)))
    assert (await check(asker, other, timeout_s=5)).status == VimStatus.REACHABLE


async def test_who_asks_waits_as_long_as_the_executor_says_that_the_probe_waits_for_its_turn(
    redis_server: RedisServer, conductor: Conductor, redis: Redis, asker: Asker
) -> None:
    with Endpoint() as endpoint:
        async with Prober(concurrency=1) as prober, hosting(redis_server.url, prober) as running:
            vim = await held(running, conductor, redis, endpoint.url())
            await conductor.says(vim, VimStatus.REACHABLE)
            assert prober._turns.take_now()
            asking = asyncio.create_task(check(asker, vim, timeout_s=STILL_S + 1))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2 * STILL_S + 1.5):
                    await asyncio.shield(asking)
            prober._turns.give_back()
            found = await asking
    assert found.status == VimStatus.REACHABLE
    assert (found.phases.turn_ms or 0) > 1000 * (STILL_S + 1)


async def test_a_bug_in_a_probe_is_the_answer_and_in_the_log(
    host: Host,
    conductor: Conductor,
    redis: Redis,
    asker: Asker,
    prober: ScriptedProber,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def break_down() -> Outcome:
        raise RuntimeError("boom")

    vim = await held(host, conductor, redis)
    prober.scripts[of(vim)] = break_down
    found = await check(asker, vim, timeout_s=5)
    assert found.status == VimStatus.UNKNOWN
    assert "RuntimeError('boom')" in found.reason
    assert f"ask_failed vim_id={vim.id}" in caplog.text


async def test_an_answer_that_redis_does_not_take_is_logged(
    host: Host, conductor: Conductor, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    vim = await held(host, conductor, redis)
    redis.set(KEYS.answer(ME, "taken"), "no list")
    redis.rpush(KEYS.asks(ME), Ask(id="taken", vim_id=vim.id).model_dump_json())
    await eventually(lambda: f"answer_lost vim_id={vim.id}" in caplog.text)
