"""Fixtures: a host that runs on a real Redis, with a real conductor and database, and a prober that is steered."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tests.support.polling import eventually
from vimmon.actions.connection import connect
from vimmon.actions.host import Host
from vimmon.actions.monitor import Assignment
from vimmon.actions.probing import Prober
from vimmon.conductor.requests import RequestList
from vimmon.conductor.server import Server
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.lease.store import LeaseStore
from vimmon.metrics import LAG_S, Histogram
from vimmon.probes import Outcome, Probe, TcpProbe, Trace
from vimmon.registry.database import open_engine, upgrade
from vimmon.registry.store import VimStore
from vimmon.settings import Settings
from vimmon.vim import Vim, VimStatus, VimType

UP = Outcome(status=VimStatus.REACHABLE, reason="connected in 1 ms")
DOWN = Outcome(status=VimStatus.UNREACHABLE, reason="connection refused")
CHECK_S = 0.12
ME = "mistral-1:42:ab12"
HELD = f"vimmon:executor:{ME}:held"
KEYS = Keys("vimmon")
FAST = {"interval_s": 0.1, "confirm_interval_s": 0.05, "timeout_s": 2, "rise": 2, "fall": 2}


class ScriptedProber:
    """Stands in for the prober where a test steers what is found: by the probe's auth_url, else it is up."""

    def __init__(self) -> None:
        self.scripts: dict[str, Callable[[], Outcome] | Outcome] = {}
        self.hang: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.at_once = False  # without a task
        self.running = self.waiting = 0
        self.waits = Histogram(LAG_S)

    def asker(self, *_: object) -> None:
        """Nobody is asked by icmp."""

    def read_replies(self) -> None:
        """So nobody has replied."""

    def probe(self, probe: Probe, trace: Trace | None = None) -> Awaitable[Outcome]:
        self.asked[probe.auth_url] += 1
        if probe.auth_url in self.hang or "*" in self.hang:
            return self._silence(probe.auth_url)
        if self.at_once:
            answer = asyncio.get_running_loop().create_future()
            answer.set_result(self._found(probe))
            return answer
        return self._probe(probe)

    def _silence(self, auth_url: str) -> "asyncio.Future[Outcome]":
        """Never answers. That it is cancelled is counted also where that comes in the turn in which it was asked."""

        def ended(silence: "asyncio.Future[Outcome]") -> None:
            self.cancelled[auth_url] += silence.cancelled()

        silence: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        silence.add_done_callback(ended)
        return silence

    async def _probe(self, probe: Probe) -> Outcome:
        return self._found(probe)

    def _found(self, probe: Probe) -> Outcome:
        script = self.scripts.get(probe.auth_url, UP)
        return script if isinstance(script, Outcome) else script()


def of(assignment: Assignment | Vim) -> str:
    return f"http://{assignment.vim_id if isinstance(assignment, Assignment) else assignment.id}:5000"


def assigned(vim_id: str, generation: int = 1, action_id: str = "a1", **probe: Any) -> Assignment:
    url = {"auth_url": f"http://{vim_id}:5000"}
    return Assignment(vim_id, action_id, generation, TcpProbe.model_validate(FAST | url | probe))


@asynccontextmanager
async def hosting(
    url: str,
    prober: ScriptedProber | Prober,
    *,
    check_interval_s: float = CHECK_S,
    prefix: str = KEYS.prefix,
    unknown_after_s: float = 120,
    **options: Any,
) -> AsyncIterator[Host]:
    settings = Settings.model_validate(
        {
            "redis_url": url,
            "prefix": prefix,
            "check_interval_s": check_interval_s,
            "executor_beat_s": 0.2,
            "executor_ttl_s": min(30, unknown_after_s),
            "executor_name": "mistral-1",
            "unknown_after_s": unknown_after_s,
        }
    )
    client = connect(settings)
    host = Host(settings, client, cast(Prober, prober), ME, rng=random.Random(7), **options)
    task = asyncio.create_task(host.run())
    yield host
    assert not task.done(), task
    for vim_id, lease in host._checks._leases.items():
        assert host._monitors[vim_id].knows(lease, host._checks._statuses[vim_id]), "it would have to be looked at"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.aclose()


@dataclass
class Conductor:
    """One that serves, and the database behind it."""

    vims: VimStore

    def register(self, auth_url: str | None = None) -> Vim:
        vim_id = str(uuid4())
        return self.vims.register(
            vim_id=vim_id,
            name=f"name of {vim_id}",
            vim_type=VimType.GENERIC,
            auth_url=auth_url or f"http://{vim_id}:5000",
            probe={"kind": "tcp", **FAST},
            action_id=str(uuid4()),
        )

    def row(self, vim: Vim) -> tuple[VimStatus, str | None]:
        found = self.vims.get(vim.id)
        return found.status, found.reason

    async def says(self, vim: Vim, status: VimStatus) -> None:
        await eventually(lambda: self.vims.get(vim.id).status == status)


def assignment_of(vim: Vim) -> Assignment:
    assert vim.action_id
    return Assignment(
        vim.id, vim.action_id, vim.generation, TcpProbe.model_validate({**vim.probe, "auth_url": vim.auth_url})
    )


@contextmanager
def conducting(redis_url: str, folder: Path) -> Iterator[Conductor]:
    engine = open_engine(f"sqlite:///{folder / 'vimmon.sqlite'}")
    upgrade(engine)
    vims, redis, stop = VimStore(engine), Redis.from_url(redis_url), threading.Event()
    requests, leases = RequestList(redis, KEYS, "conductor-1"), LeaseStore(redis, KEYS, ttl_s=900)
    server = Server(requests, leases, vims, redis=redis, keys=KEYS, batch=100)
    thread = threading.Thread(target=server.serve, args=[stop], kwargs={"pause": lambda _: stop.wait(0.05)})
    thread.start()
    try:
        yield Conductor(vims)
    finally:  # or a test that fails would keep the whole run from ending
        stop.set()
        thread.join(10)
        engine.dispose()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def conductor_of_all(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conductor]:
    with conducting(redis_server.url, tmp_path_factory.mktemp("conductor")) as conductor:
        yield conductor


@pytest.fixture
def conductor(conductor_of_all: Conductor, redis: Redis) -> Conductor:
    return conductor_of_all


@pytest.fixture
def prober() -> ScriptedProber:
    return ScriptedProber()


@pytest.fixture
async def host(redis_server: RedisServer, redis: Redis, prober: ScriptedProber) -> AsyncIterator[Host]:
    async with hosting(redis_server.url, prober) as running:
        yield running


@pytest.fixture
async def lone_host(redis_server: RedisServer, redis: Redis, prober: ScriptedProber) -> AsyncIterator[Host]:
    """One that no conductor answers: it may watch what is in no database."""
    async with hosting(redis_server.url, prober, prefix="lone") as running:
        yield running


def text_of(redis: Redis, key: str) -> str | None:
    try:
        found: Any = redis.get(key)
    except ResponseError:  # of another type
        return None
    return None if found is None else found.decode()


def calls_of(redis: Redis, command: str) -> int:
    stats: Any = redis.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


async def watched(host: Host, conductor: Conductor) -> Vim:
    """A new VIM that this host watches and that has become REACHABLE, as Redis knows, and the host as well."""
    vim = conductor.register()
    assert host.take_on(assignment_of(vim))
    await conductor.says(vim, VimStatus.REACHABLE)
    await eventually(lambda: host._monitors[vim.id].acknowledged)
    return vim
