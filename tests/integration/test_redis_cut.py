"""A connection to Redis that breaks at any command, before it is carried out or after it: nothing is lost by it."""

import contextlib
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.chaos.shears import Shears, Where, first_of_each, the
from tests.chaos.valve import Valve
from tests.integration.batch import check, said, settle
from tests.integration.bench import Bench
from tests.integration.hosting import DOWN, HELD, Conductor, ScriptedProber, assignment_of, hosting, of
from tests.support.polling import eventually
from vimmon.embedded.redis import RedisServer
from vimmon.lease.connection import AWAY, connect
from vimmon.settings import Settings
from vimmon.vim import VimStatus

COMMANDS_MAX = 40
OF_AN_EXECUTOR = {"LLEN", "TIME", "RPUSH", "MGET", "HGET", "HLEN", "ZADD", "HSET", "PEXPIRE"}


@pytest.fixture
def valve(redis_server: RedisServer) -> Iterator[Valve]:
    with Valve(redis_server.port) as valve:
        yield valve


@pytest.mark.parametrize("where", ["command", "answer"])
def test_cut_at_any_command_of_a_conductor_every_request_is_answered_and_written_once(
    bench: Bench, valve: Valve, where: Where
) -> None:
    """What counts is which command: of one that lacks a single byte Redis carries out nothing."""
    hit: set[str] = set()
    with connect(Settings.model_validate({"redis_url": valve.redis_url})) as redis:
        conductor = Bench(redis, bench.engine)
        for number in range(1, COMMANDS_MAX):
            bench.redis.flushall()
            vims = [bench.registered(f"{number}-{vim}") for vim in range(3)]
            old = bench.registered(f"{number}-old")
            bench.restarted(old)
            bench.push(*said(vims, old))
            valve.shears = shears = Shears(where, the(number))
            serve(conductor)
            valve.shears = None
            settle(bench)
            check(bench, vims, old)
            hit.update(shears.cuts)
            if not shears.cuts:
                assert {"BLMOVE", "EVAL", "MGET", "RPUSH", "DEL"} <= hit
                return
    pytest.fail(f"it still has a command of number {COMMANDS_MAX}")


@pytest.mark.parametrize("where", ["command", "answer"])
async def test_cut_at_any_command_of_an_executor_nobody_leaves_and_nothing_is_lost(
    valve: Valve, conductor: Conductor, redis: Redis, prober: ScriptedProber, where: Where
) -> None:
    listening, spared = {"BLMPOP"}, set(OF_AN_EXECUTOR)
    async with hosting(valve.redis_url, prober) as host:
        vims = [conductor.register() for _ in range(3)]
        for vim in vims:
            assert host.take_on(assignment_of(vim))
        for vim in vims:
            await conductor.says(vim, VimStatus.REACHABLE)
        valve.shears = Shears(where, first_of_each(listening))
        await eventually(lambda: not listening)
        prober.scripts[of(vims[0])] = DOWN  # the answer to this news is the one that is lost
        await conductor.says(vims[0], VimStatus.UNREACHABLE)
        await eventually(lambda: not host._caller._pending)
        valve.shears = Shears(where, first_of_each(spared))
        host._caller._known_until = 0.0  # so that it asks how many requests wait
        prober.scripts[of(vims[1])] = DOWN
        await eventually(lambda: not spared, within_s=30)
        await conductor.says(vims[1], VimStatus.UNREACHABLE)
        assert host.held.keys() == {vim.id for vim in vims}
        written = {vim_id.encode(): str(lease).encode() for vim_id, lease in host.held.items()}
        await eventually(lambda: redis.hgetall(HELD) == written)
        changes = {vim.id: [str(change.new) for change in conductor.vims.history(vim.id)] for vim in vims}
        assert changes == {
            vims[0].id: ["UNREACHABLE", "REACHABLE"],
            vims[1].id: ["UNREACHABLE", "REACHABLE"],
            vims[2].id: ["REACHABLE"],
        }


def serve(conductor: Bench) -> None:
    """As a server does when Redis comes and goes, without its pauses."""
    done = False
    while not done:
        with contextlib.suppress(*AWAY):
            done = conductor.server.serve_once(block_s=0.01) == 0
