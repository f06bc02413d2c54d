"""Redis on TLS, wanting a client certificate: who is let in, and what is said to whoever is not."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key
from redis.exceptions import RedisError

from tests.support.command import Command
from tests.support.guarded_redis import ADMIN, Certificates, GuardedRedis, guarded_redis
from tests.support.polling import eventually
from vimmon.actions.client import keep_going
from vimmon.actions.connection import connect as connect_asyncio
from vimmon.conductor.installation import check_installation
from vimmon.embedded.process import Child, free_port
from vimmon.embedded.redis import find_redis_server
from vimmon.errors import RedisUnreachable, SettingsError
from vimmon.lease.connection import connect
from vimmon.registry.database import open_engine, upgrade
from vimmon.settings import Settings, load_settings

SECRET = "s3cr3t"
NAME_AUTHORITY = "Name the authority of Redis's certificate in VIMMON_REDIS_URL"
CLIENT_CERTIFICATE = "Redis wants a client certificate that it trusts: ssl_certfile and ssl_keyfile"
SENTINEL = """\
port 0
tls-port {port}
tls-cert-file {certificate}
tls-key-file {key}
tls-ca-cert-file {authority}
tls-auth-clients yes
tls-replication yes
bind 127.0.0.1
sentinel monitor vims 127.0.0.1 {master} 1
sentinel auth-user vims {admin}
sentinel auth-pass vims {password}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[GuardedRedis]:
    with guarded_redis(folder, certificates=Certificates(folder / "own")) as running:
        yield running


@pytest.fixture(scope="module")
def other(folder: Path) -> Certificates:
    """Of an authority that nobody here trusts."""
    return Certificates(folder / "other")


def settings(url: str) -> Settings:
    return Settings.model_validate({"redis_url": url})


def said_of(guarded: GuardedRedis, text: str) -> list[str]:
    """The passwords in a text."""
    return [password for password in (*guarded.passwords.values(), SECRET) if password in text]


def wrong(guarded: GuardedRedis, other: Certificates) -> dict[str, tuple[str, str]]:
    """URLs with which nobody is let in, and how the remedy begins."""
    own = guarded.certificates
    assert own is not None
    url = guarded.url("vimmon-conductor")
    bare = url.partition("?")[0] + f"?ssl_ca_certs={own.authority}"
    certificate, key = other.client
    return {
        "authority": (url.replace("own%2Fca.pem", "other%2Fca.pem"), NAME_AUTHORITY),
        "no certificate": (bare, CLIENT_CERTIFICATE),
        "certificate": (f"{bare}&ssl_certfile={certificate}&ssl_keyfile={key}", CLIENT_CERTIFICATE),
        "host": (url.replace("127.0.0.1", "localhost"), "Name Redis in VIMMON_REDIS_URL as its certificate does"),
        "password": (url.replace(guarded.passwords["vimmon-conductor"], SECRET), "Check user and password"),
        "user": (guarded.url("vimmon-executor-mistral-1"), "Give this part a user of its kind"),
    }


WRONG = pytest.mark.parametrize("what", ["authority", "no certificate", "certificate", "host", "password", "user"])


@WRONG
def test_who_is_not_let_in_is_told_what_to_do_and_no_password(
    what: str,
    guarded: GuardedRedis,
    other: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, remedy = wrong(guarded, other)[what]
    monkeypatch.setenv("VIMMON_REDIS_URL", url)
    monkeypatch.setenv("VIMMON_DATABASE_URL", f"sqlite:///{tmp_path}/vimmon.sqlite")
    vimmon = Command(capsys)
    assert vimmon("db", "upgrade").code == 0
    registered = vimmon("vim", "register", "tokyo", "--auth-url", "http://127.0.0.1:5000", "--json")
    assert (registered.code, registered.err.partition(":")[0]) == (0, "warning")
    listed = vimmon("lease", "list")
    assert (listed.code, listed.out) == (3, "")
    error, told = listed.err.splitlines()
    assert error.startswith("error: Redis cannot be reached: ")
    assert told.startswith(f"  {remedy}")
    assert not said_of(guarded, registered.out + registered.err + listed.err)
    with pytest.raises(RedisUnreachable) as caught:
        check_installation(load_settings())
    assert caught.value.remedy.startswith(remedy)
    assert not said_of(guarded, str(caught.value))


@WRONG
async def test_an_executor_that_is_not_let_in_logs_what_to_do_and_no_password(
    what: str, guarded: GuardedRedis, other: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    url, remedy = wrong(guarded, other)[what]
    client = connect_asyncio(settings(url))

    async def step() -> None:
        await client.lrange("vimmon:rpc:requests", 0, -1)

    task = asyncio.create_task(keep_going("test", step, pause_s=0.01))
    await eventually(lambda: remedy in caplog.text)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.aclose()
    assert not said_of(guarded, caplog.text)


def test_a_conductor_that_is_not_let_in_ends_with_an_error_and_no_traceback(
    guarded: GuardedRedis, other: Certificates, tmp_path: Path
) -> None:
    url, remedy = wrong(guarded, other)["authority"]
    database = f"sqlite:///{tmp_path}/vimmon.sqlite"
    upgrade(open_engine(database))
    env = {**os.environ, "VIMMON_REDIS_URL": url, "VIMMON_DATABASE_URL": database}
    command = [sys.executable, "-m", "vimmon.conductor"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 3
    assert ended.stderr.splitlines()[-1].startswith(f"  {remedy}")
    assert "Traceback" not in ended.stderr
    assert not said_of(guarded, ended.stderr)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(guarded: GuardedRedis, tmp_path: Path) -> None:
    own = guarded.certificates
    assert own is not None
    certificate, key = own.client
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        load_key(key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a passphrase")
        )
    )
    url = f"rediss://h?ssl_certfile={certificate}&ssl_keyfile={locked}"
    with pytest.raises(SettingsError, match="want a passphrase"):
        connect(settings(url))


async def test_sentinels_that_want_a_client_certificate_lead_both_sides_to_redis(
    guarded: GuardedRedis, tmp_path: Path
) -> None:
    own = guarded.certificates
    assert own is not None
    port = free_port()
    certificate, key = own.server
    config = tmp_path / "sentinel.conf"
    config.write_text(
        SENTINEL.format(
            port=port,
            certificate=certificate,
            key=key,
            authority=own.authority,
            master=guarded.port,
            admin=ADMIN,
            password=guarded.passwords[ADMIN],
        )
    )
    sentinel = Child("sentinel", [find_redis_server(), config, "--sentinel"], tmp_path)
    try:
        sentinel.wait_ready(lambda: "+monitor master vims" in sentinel.tail(), 10)
        query = guarded.url(ADMIN).partition("?")[2]
        place = f"127.0.0.1:{port}/vims/0"
        url = f"rediss+sentinel://{ADMIN}:{guarded.passwords[ADMIN]}@{place}?{query}"

        def leads() -> bool:
            try:
                with connect(settings(url)) as client:
                    return bool(client.set("led", "here"))
            except RedisError:  # a Sentinel names no master before it has met it
                return False

        await eventually(leads)
        executor = connect_asyncio(settings(url))
        assert await executor.get("led") == b"here"
        await executor.aclose()
        with connect(settings(url.partition("&ssl_certfile")[0])) as nobody, pytest.raises(RedisError):
            nobody.get("led")
    finally:
        sentinel.stop()
