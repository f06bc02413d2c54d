"""With a real Keystone: it guards Mistral, lists it in its catalogue, and is itself the VIM that is watched."""

import json
import os
import re
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from keystoneauth1.exceptions import ClientException
from keystoneauth1.session import Session
from mistralclient.api.client import client
from redis import Redis
from sqlalchemy import create_engine

from tests.acceptance.stack import PROBE, TIMES, Stack, becomes, eventually, why_not
from tests.support.keystone import Keystone, keystone_missing
from tests.support.strict import require
from vimmon import Registry
from vimmon.embedded.mistral import MistralServer
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer
from vimmon.registry.database import open_engine, upgrade
from vimmon.settings import load_settings

TOKEN = re.compile(rb"gAAAA[\w-]{20,}")  # what a fernet token begins with
GUARDED = """\
[pecan]
auth_enable = true

[keystone_authtoken]
auth_type = password
auth_url = {url}
www_authenticate_uri = {url}
username = {user}
password = {password}
project_name = {project}
user_domain_name = Default
project_domain_name = Default
"""


@dataclass
class Cloud:
    """A stack whose Mistral and whose conductor know each other through Keystone only."""

    keystone: Keystone
    stack: Stack
    mistral_user: dict[str, str]
    vimmon_user: dict[str, str]

    def traces(self) -> dict[str, bytes]:
        """All that vimmon wrote anywhere: its logs, its database, Redis; and Mistral's database and log."""
        written = eventually(self._files)
        with Redis.from_url(self.stack.redis.url) as redis:
            return written | {f"redis {key!r}": _content(redis, key) for key in redis.scan_iter()}

    def _files(self) -> dict[str, bytes] | None:
        """None: one went away meanwhile. SQLite's last user puts a -wal into the file beside it, and removes it."""
        paths = [path for path in self.stack.folder.rglob("*") if path.suffix in (".log", ".sqlite", ".sqlite-wal")]
        try:
            return {str(path): _read_elsewhere(path) for path in paths}
        except subprocess.CalledProcessError:
            return None


def _read_elsewhere(path: Path) -> bytes:
    """In another process: one that closes a file of SQLite's loses the locks that it has on it."""
    return subprocess.run(["cat", str(path)], check=True, capture_output=True).stdout


def _content(redis: Redis, key: bytes) -> bytes:
    """What a key holds; RQ keeps a job's call and its error compressed."""
    if redis.type(key) == b"hash":
        fields = cast(dict[bytes, bytes], redis.hgetall(key))
        packed = [fields.pop(name) for name in (b"data", b"exc_info") if fields.get(name)]
        return b" ".join([*fields.values(), *map(zlib.decompress, packed)])
    return str([redis.type(key), redis.dump(key)]).encode()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    require(why_not("one-process") or keystone_missing())
    with ExitStack() as parts:
        keystone = parts.enter_context(Keystone(tmp_path_factory.mktemp("keystone")))
        folder = tmp_path_factory.mktemp("cloud")
        mistral_user, vimmon_user = keystone.add_user("mistral", "service", "admin"), keystone.add_user("vimmon", "nfv")
        session = keystone.session(vimmon_user)
        redis = parts.enter_context(RedisServer(folder / "redis", options=["--rdbcompression", "no"]))
        base = {"VIMMON_ENV_FILE": os.devnull, "VIMMON_REDIS_URL": redis.url, **TIMES}
        mistral = MistralServer(
            folder / "mistral",
            port=free_port(),
            env=base,
            config=_guarded(folder, mistral_user),
            works=lambda url: _works(session, url),
        )
        keystone.add_service("workflowv2", mistral.url)
        parts.enter_context(mistral)
        database_url = f"sqlite:///{folder}/vimmon.sqlite"
        engine = open_engine(database_url)
        upgrade(engine)
        engine.dispose()
        stack = Stack(
            kind="keystone",
            folder=folder,
            env={**base, "VIMMON_DATABASE_URL": database_url},
            redis=redis,
            database=create_engine(database_url),
            mistral=mistral,
            api=client(mistral_url=mistral.url, session=session, enforce_raw_definitions=True),
            registry=Registry.from_settings(load_settings({**base, "VIMMON_DATABASE_URL": database_url})),
        )
        parts.callback(stack.stop_conductors)
        stack.start_conductor(env=vimmon_user)
        yield Cloud(keystone, stack, mistral_user, vimmon_user)


def _guarded(folder: Path, user: dict[str, str]) -> Path:
    config = folder / "guarded.conf"
    config.write_text(
        GUARDED.format(
            url=user["OS_AUTH_URL"],
            user=user["OS_USERNAME"],
            password=user["OS_PASSWORD"],
            project=user["OS_PROJECT_NAME"],
        )
    )
    return config


def _works(session: Session, url: str) -> bool:
    action = {"name": "std.noop", "input": "{}", "params": json.dumps({"run_sync": True})}
    try:
        return bool(session.post(f"{url}/action_executions", json=action).json()["state"] == "SUCCESS")
    except ClientException:  # not there yet, or its engine is not
        return False


@pytest.fixture
def stack(cloud: Cloud) -> Iterator[Stack]:
    yield cloud.stack
    cloud.stack.clear()


def test_mistral_refuses_whoever_has_no_token(cloud: Cloud) -> None:
    answer = Session(timeout=10).get(f"{cloud.stack.mistral.url}/workflows", raise_exc=False)
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/v3", "/v3/", "/", ""])
def test_a_real_keystone_is_watched_by_a_mistral_found_in_its_catalogue(cloud: Cloud, stack: Stack, path: str) -> None:
    vim = stack.registry.register("tokyo", cloud.keystone.url(path), probe=PROBE).vim
    becomes(lambda: stack.status(vim.id), "REACHABLE")
    assert str(stack.row(vim.id)["reason"]).startswith("HTTP 200" if "v3" in path else "HTTP 300")
    eventually(lambda: stack.row(vim.id)["execution_id"])
    assert stack.executions(vim.id) == {str(vim.action_id): "RUNNING"}
    stack.registry.deregister(vim.id)
    becomes(lambda: stack.workflow(vim.id), None)
    assert stack.executions(vim.id) == {}


def test_a_real_keystone_that_stops_is_unreachable_until_it_is_back(cloud: Cloud, stack: Stack) -> None:
    vims = [stack.registry.register(f"vim{path}", cloud.keystone.url(path), probe=PROBE).vim for path in ("/v3", "/")]
    becomes(lambda: [stack.status(vim.id) for vim in vims], ["REACHABLE"] * 2)
    becomes(stack.jobs, [])
    cloud.keystone.stop()
    try:
        becomes(lambda: [stack.status(vim.id) for vim in vims], ["UNREACHABLE"] * 2)
        assert [stack.row(vim.id)["reason"] for vim in vims] == ["connection refused"] * 2
    finally:
        cloud.keystone.start()
    becomes(lambda: [stack.status(vim.id) for vim in vims], ["REACHABLE"] * 2)


def test_a_wrong_password_is_named_in_the_conductors_log_and_no_secret_anywhere(cloud: Cloud, stack: Stack) -> None:
    wrong = {**cloud.vimmon_user, "OS_PASSWORD": "not-the-password-of-vimmon"}
    stack.conductors[-1].stop()
    conductor = stack.start_conductor(env=wrong)
    vim = stack.registry.register("tokyo", cloud.keystone.url(), probe=PROBE).vim
    mine = f"job_failed job=start-{vim.id}-1 "  # other jobs may have failed likewise
    eventually(lambda: mine in conductor.log.read_text())
    (line,) = [line for line in conductor.log.read_text().splitlines() if mine in line and "retries_left=60" in line]
    assert "Keystone refused the login" in line
    assert "HTTP 401" in line
    assert "Traceback" not in conductor.log.read_text()
    failed = cloud.traces()
    conductor.stop()
    stack.start_conductor(env=cloud.vimmon_user)
    becomes(lambda: stack.status(vim.id), "REACHABLE")
    assert [where for where, content in failed.items() if where.startswith("redis") and vim.id.encode() in content]
    secrets = [wrong["OS_PASSWORD"], cloud.vimmon_user["OS_PASSWORD"], cloud.mistral_user["OS_PASSWORD"]]
    for where, content in [*failed.items(), *cloud.traces().items()]:
        assert [secret for secret in secrets if secret.encode() in content] == [], where
        assert TOKEN.search(content) is None, where
