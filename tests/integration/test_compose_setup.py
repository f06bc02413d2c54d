"""What docker-compose.yml's setup makes: settings and rules that fit together, and stay so until they are rotated."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from tests.support.services import redis_missing
from tests.support.strict import require
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer
from vimmon.settings import Settings, load_settings

SETUP = Path(__file__).parents[2] / "deploy" / "compose" / "setup.sh"
PARTS = ("conductor", "executor", "kept", "mistral", "postgres", "rabbitmq", "redis")


def set_up(folder: Path, *arguments: str) -> dict[str, str]:
    """Runs it as the image does; the files it has made, and their contents."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "SETUP_FOLDER": str(folder), "VIMMON_ENV_FILE": os.devnull}
    subprocess.run(["/bin/sh", str(SETUP), *arguments], env=env, check=True, capture_output=True, timeout=60)
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("setup")
    for part in PARTS:
        (folder / part).mkdir()
    return folder


@pytest.fixture(scope="module")
def made(folder: Path) -> dict[str, str]:
    return set_up(folder)


@pytest.fixture
def port(made: dict[str, str], folder: Path, tmp_path: Path) -> Iterator[int]:
    """Of a Redis with the users that were made."""
    require(redis_missing())
    port = free_port()
    with RedisServer(tmp_path, port=port, options=("--aclfile", str(folder / "redis" / "users.acl"))):
        yield port


def settings_of(part: str, folder: Path) -> Settings:
    return load_settings({"VIMMON_ENV_FILE": str(folder / part / "vimmon.env")})


def client(part: str, folder: Path, port: int) -> Redis:
    url = urlsplit(settings_of(part, folder).redis_url.get_secret_value())
    return Redis(port=port, username=url.username, password=url.password)


def test_each_part_gets_settings_with_which_redis_lets_it_in_as_what_it_is(folder: Path, port: int) -> None:
    with client("conductor", folder, port) as conductor, client("executor", folder, port) as executor:
        conductor.set("vimmon:lease:v", "1:a")
        assert executor.mget(["vimmon:lease:v"]) == [b"1:a"]
        with pytest.raises(NoPermissionError):
            executor.set("vimmon:lease:v", "2:b")
        name = settings_of("executor", folder).executor_name
        assert executor.hset(f"vimmon:executor:{name}:7:abc", "host", "h") == 1
    with Redis(port=port) as nobody, pytest.raises(AuthenticationError):
        nobody.ping()


def test_the_health_check_may_ask(folder: Path, port: int) -> None:
    password = (folder / "redis" / "operator.password").read_text().strip()
    with Redis(port=port, username="vimmon-operator", password=password) as operator:
        assert operator.ping() is True


def test_an_executor_is_told_no_password_of_the_database(made: dict[str, str]) -> None:
    shown = made["executor/vimmon.env"] + made["executor/bus.conf"]
    assert "postgres" not in shown
    for secret in ("postgres", "postgres-vimmon", "postgres-mistral", "redis-conductor", "redis-admin"):
        assert made[f"kept/{secret}"].strip() not in shown


def test_no_two_passwords_are_alike(made: dict[str, str]) -> None:
    kept = [text for name, text in made.items() if name.startswith("kept/") and name != "kept/said"]
    assert len(set(kept)) == len(kept) == 8
    assert all(len(text.strip()) == 64 for text in kept)


def test_a_second_run_changes_nothing(folder: Path, made: dict[str, str]) -> None:
    assert set_up(folder) == made


def test_other_users_may_read_what_is_for_their_part_alone(folder: Path, made: dict[str, str]) -> None:
    modes = {name: (folder / name).stat().st_mode & 0o777 for name in made}
    assert {mode for name, mode in modes.items() if name.startswith("kept/")} == {0o600}
    assert {mode for name, mode in modes.items() if not name.startswith("kept/")} == {0o444}


def test_rotating_changes_redis_s_passwords_and_no_others(folder: Path, made: dict[str, str]) -> None:
    after = set_up(folder, "rotate-redis")
    changed = {name for name in made if after[name] != made[name]}
    kept = {f"kept/redis-{user}" for user in ("admin", "conductor", "executor", "operator")}
    told = {"redis/admin.password", "redis/operator.password", "conductor/vimmon.env", "executor/vimmon.env"}
    assert changed == kept | told | {"redis/users.acl"}


def test_what_was_written_in_a_transaction_is_there_after_a_restart(
    made: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    """Redis replays what it kept as the user `default`, and drops what that one may not do: only ACL LOG says so."""
    require(redis_missing())
    port, options = free_port(), ("--aclfile", str(folder / "redis" / "users.acl"), "--appendonly", "yes")
    for there in (None, b"1:a"):
        with (
            RedisServer(tmp_path, port=port, persistent=True, options=options),
            client("conductor", folder, port) as redis,
        ):
            assert redis.get("vimmon:lease:v") == there
            with redis.pipeline(transaction=True) as pipeline:
                pipeline.set("vimmon:lease:v", "1:a").pexpire("vimmon:lease:v", 900_000).execute()
