"""Following Tacker: a real HTTP server that lists VIMs as Tacker does, a real Redis, and a real database."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis

from tests.integration.bench import Bench
from tests.support.tacker import TackerServer
from vimmon import Registry
from vimmon.mistral.queue import JobQueue
from vimmon.settings import Settings
from vimmon.tacker.client import TackerClient
from vimmon.tacker.state import Following, read_following
from vimmon.tacker.sync import Passed, TackerSync
from vimmon.vim import Vim

URL = "http://127.0.0.1:5000/v3"


@dataclass
class Ground:
    """A Tacker that is followed, and the registry that follows it."""

    tacker: TackerServer
    registry: Registry
    redis: Redis
    bench: Bench

    def sync(self, environ: dict[str, str] | None = None, **settings: Any) -> TackerSync:
        given = Settings.model_validate({"tacker_url": self.tacker.url, "tacker_timeout_s": 5, **settings})
        client = TackerClient(given, environ=environ or {})
        return TackerSync(client, self.registry, self.redis, self.bench.keys)

    def run(self, **how: Any) -> Passed:
        return self.sync().run_once(**how)

    def names(self) -> dict[str, str]:
        return {vim.id: vim.name for vim in self.registry.list()}

    def vim(self, vim_id: str) -> Vim:
        return self.registry.get(vim_id)

    def said(self) -> Following:
        following = read_following(self.redis, self.bench.keys)
        assert following is not None
        return following


@pytest.fixture
def ground(bench: Bench) -> Iterator[Ground]:
    registry = Registry(bench.vims, bench.leases, JobQueue(bench.redis, name="vimmon"))
    with TackerServer() as tacker:
        yield Ground(tacker, registry, bench.redis, bench)


def test_what_tacker_lists_is_watched_under_its_id_and_name(ground: Ground) -> None:
    tokyo = ground.tacker.add("tokyo", URL)
    osaka = ground.tacker.add("osaka", "https://10.0.0.1:6443", type="kubernetes")
    passed = ground.run()
    assert ground.names() == {tokyo: "tokyo", osaka: "osaka"}
    vim = ground.vim(osaka)
    assert (vim.type, vim.auth_url, vim.origin, vim.generation) == ("kubernetes", "https://10.0.0.1:6443", "tacker", 1)
    assert ground.redis.get(ground.bench.keys.lease(osaka)) == f"1:{vim.action_id}".encode()
    assert (passed.followed, ground.said().followed) == (2, 2)


def test_what_tacker_no_longer_lists_is_deregistered(ground: Ground) -> None:
    tokyo, osaka = ground.tacker.add("tokyo"), ground.tacker.add("osaka")
    ground.run()
    del ground.tacker.vims[tokyo]
    ground.run()
    assert ground.names() == {osaka: "osaka"}
    assert ground.redis.get(ground.bench.keys.lease(tokyo)) == b"2:-"


def test_another_auth_url_or_name_is_taken_over(ground: Ground) -> None:
    tokyo = ground.tacker.add("tokyo")
    ground.run()
    ground.tacker.vims[tokyo] |= {"auth_url": "http://127.0.0.1:5001/v3", "name": "edo"}
    ground.run()
    vim = ground.vim(tokyo)
    assert (vim.name, vim.auth_url, vim.generation) == ("edo", "http://127.0.0.1:5001/v3", 2)


def test_a_second_pass_changes_nothing(ground: Ground) -> None:
    ground.tacker.add("tokyo")
    ground.run()
    before = ground.registry.list()
    passed = ground.run()
    assert (passed.plan.register, passed.plan.update, passed.plan.deregister) == ((), (), ())
    assert ground.registry.list() == before


def test_a_vim_registered_by_hand_is_never_touched(ground: Ground) -> None:
    by_hand = ground.registry.register("tokyo", URL).vim
    ground.tacker.add("tokyo", URL)
    ground.run()
    ground.tacker.vims.clear()
    ground.run()
    assert ground.registry.list() == [by_hand]
