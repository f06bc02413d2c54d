"""Two installations on one real Mistral: each finds what it left there and no VIM wants, and touches nothing else."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.bench import Bench
from tests.support.services import redis_missing
from tests.support.strict import require
from vimmon.embedded.mistral import MistralServer
from vimmon.embedded.redis import RedisServer
from vimmon.mistral.client import MistralClient
from vimmon.mistral.jobs import Tools, carry_out_start, carry_out_sweep
from vimmon.mistral.queue import START, JobQueue
from vimmon.mistral.workflow import workflow_input
from vimmon.registry.database import open_engine, upgrade
from vimmon.registry.repair import Repair
from vimmon.registry.restarter import Restarter
from vimmon.settings import Settings


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URLs of a Redis and of a Mistral whose executor knows that Redis."""
    require(redis_missing())
    folder = tmp_path_factory.mktemp("sweep")
    with (
        RedisServer(folder / "redis") as redis,
        MistralServer(folder / "mistral", env={"VIMMON_REDIS_URL": redis.url}) as mistral,
    ):
        yield redis.url, mistral.url


class Installation:
    """A database of its own, and the jobs on it."""

    def __init__(self, folder: Path, redis_url: str, mistral_url: str) -> None:
        engine = open_engine(f"sqlite:///{folder}/vimmon.sqlite")
        upgrade(engine)
        self.bench = Bench(Redis.from_url(redis_url), engine)
        self.mistral = MistralClient(Settings(mistral_url=mistral_url), environ={})
        self.queue = JobQueue(self.bench.redis, name=f"jobs-{uuid.uuid4()}")
        repair = Repair(engine)
        restarter = Restarter(repair, self.bench.leases, self.queue)
        self.tools = Tools(self.bench.vims, self.mistral, repair, restarter)

    def watched(self, name: str) -> str:
        vim = self.bench.registered(name)
        carry_out_start(self.tools, vim.id, 1)
        return vim.id

    def age(self) -> None:
        """Everything was started ten minutes ago."""
        with self.bench.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE vims SET awaited_since = datetime('now', '-600 seconds') || '.000000'")

    def executions(self) -> set[str]:
        return {one.id for one in self.mistral.existing(self.bench.vims.installation_id()).executions}

    def workflows(self) -> set[str]:
        return set(self.mistral.existing(self.bench.vims.installation_id()).workflows)


@pytest.fixture
def mine(servers: tuple[str, str], tmp_path: Path) -> Iterator[Installation]:
    (tmp_path / "mine").mkdir()
    installation = Installation(tmp_path / "mine", *servers)
    yield installation
    for vim_id in installation.workflows():
        installation.mistral.delete_all(vim_id, installation.mistral.executions_of(vim_id))


@pytest.fixture
def another(servers: tuple[str, str], tmp_path: Path) -> Iterator[Installation]:
    (tmp_path / "another").mkdir()
    installation = Installation(tmp_path / "another", *servers)
    yield installation
    for vim_id in installation.workflows():
        installation.mistral.delete_all(vim_id, installation.mistral.executions_of(vim_id))


def test_what_is_wanted_stays_and_anothers_is_not_touched(mine: Installation, another: Installation) -> None:
    mine.watched("tokyo")
    another.watched("osaka")
    for installation in (mine, another):
        installation.age()
    before = (mine.executions(), another.executions(), another.workflows())
    carry_out_sweep(mine.tools)
    assert (mine.executions(), another.executions(), another.workflows()) == before
    assert len(before[0]) == len(before[1]) == 1


def test_an_execution_that_no_vim_wants_is_removed(mine: Installation, another: Installation) -> None:
    vim_id = mine.watched("tokyo")
    theirs = another.watched("osaka")
    for installation, vim in ((mine, vim_id), (another, theirs)):
        installation.mistral.start(
            vim, str(uuid.uuid4()), workflow_input(vim_id=vim, action_id="old", generation=0, probe={"kind": "tcp"})
        )
    carry_out_sweep(mine.tools)
    assert mine.executions() == {mine.bench.vims.get(vim_id).action_id}
    assert len(another.executions()) == 2


def test_what_was_left_of_a_vim_that_is_gone_is_removed(mine: Installation, another: Installation) -> None:
    vim_id = mine.watched("tokyo")
    stranger = str(uuid.uuid4())
    mine.mistral.ensure_workflow(stranger, mine.bench.vims.installation_id())
    another.watched("osaka")
    mine.bench.vims.deregister(vim_id)
    carry_out_sweep(mine.tools)
    assert (mine.executions(), mine.workflows()) == (set(), set())
    assert len(another.workflows()) == 1


def test_a_monitor_whose_execution_somebody_deleted_is_started_again(mine: Installation) -> None:
    vim_id = mine.watched("tokyo")
    mine.age()
    mine.mistral.delete_execution(mine.bench.vims.get(vim_id).action_id or "")
    carry_out_sweep(mine.tools)
    assert mine.bench.vims.get(vim_id).generation == 2
    first = mine.queue.queue.get_jobs()[0]
    assert (first.func_name, list(first.args)) == (START, [vim_id, 2])
