"""A real Redis of the tests' own, emptied between tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.bench import Bench
from tests.integration.following import Ground
from tests.support.command import Command
from tests.support.services import redis_missing
from tests.support.strict import require
from tests.support.tacker import TackerServer
from vimmon import Registry
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.mistral.queue import JobQueue
from vimmon.registry.database import open_engine, upgrade


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    require(redis_missing())
    folder: Path = tmp_path_factory.mktemp("redis")
    with RedisServer(folder) as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    """A client of the tests' own Redis, which is empty."""
    client = Redis.from_url(redis_server.url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def keys() -> Keys:
    return Keys("vimmon")


@pytest.fixture
def bench(redis: Redis, tmp_path: Path) -> Iterator[Bench]:
    engine = open_engine(f"sqlite:///{tmp_path}/vimmon.sqlite")
    upgrade(engine)
    yield Bench(redis, engine)
    engine.dispose()


@pytest.fixture
def ground(bench: Bench) -> Iterator[Ground]:
    registry = Registry(bench.vims, bench.leases, JobQueue(bench.redis, name="vimmon"))
    with TackerServer() as tacker:
        yield Ground(tacker, registry, bench.redis, bench)


@pytest.fixture
def vimmon(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    redis_server: RedisServer,
    redis: Redis,
) -> Command:
    """The command, with a database that is up to date and an empty Redis."""
    monkeypatch.setenv("VIMMON_DATABASE_URL", f"sqlite:///{tmp_path}/vimmon.sqlite")
    monkeypatch.setenv("VIMMON_REDIS_URL", redis_server.url)
    command = Command(capsys)
    assert command("db", "upgrade").code == 0
    return command
