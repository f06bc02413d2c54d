"""The benchmarks still run, and find right what is right: for a moment only, and whatever the figures are."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from benchmarks import leases, reconcile, rpc, soak
from benchmarks.ground import site
from tests.support.services import postgres_missing
from tests.support.strict import require
from vimmon.embedded.redis import RedisServer


@pytest.mark.parametrize("parts", [1, 7])
async def test_the_check_of_leases_is_measured(redis_server: RedisServer, redis: Redis, parts: int) -> None:
    checked = await leases.check(redis_server, 50, seconds=0.05, parts=parts)
    assert checked.per_s > 0


def test_calls_are_measured_and_the_database_says_what_they_said(
    redis_server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    with site("sqlite", "sqlite", redis_server, tmp_path) as where, ExitStack() as stack:
        side = rpc.Side(where, stack, bus=None, number=4)
        for changed in (True, False):
            assert side.call(4, seconds=0.1, changed=changed).per_s > 0
        assert side.check() == 4


def test_a_pass_of_the_reconciler_is_measured_and_finds_nothing_to_do(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    require(postgres_missing())
    first, *others = reconcile.passes(redis_server, tmp_path, vims=60, rounds=2)
    assert len(others) == 2
    assert min(one["cpu_s"] for one in (first, *others)) > 0


def test_an_executor_is_soaked_and_nothing_changes_that_should_not(redis_server: RedisServer, tmp_path: Path) -> None:
    found = soak.soak("tcp", redis_server, tmp_path, monitors=20, seconds=2, interval_s=0.5)
    assert found.per_s > 30
    assert found.false_changes == 0
