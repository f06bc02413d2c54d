"""Passwords stand in the settings alone: not in what is shown, nor in what is said to be wrong with them."""

import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.support.command import Command
from tests.support.guarded_redis import ADMIN, guarded_redis
from tests.support.polling import until
from vimmon.cli.local import _places
from vimmon.embedded.process import Child
from vimmon.embedded.stack import Stack
from vimmon.registry.database import open_engine, upgrade
from vimmon.settings import load_settings

SECRET = "s3cr3t"
DATABASE = f"postgresql://vimmon:{SECRET}@127.0.0.1:1/vimmon?sslpassword={SECRET}"


def test_settings_do_not_show_their_passwords() -> None:
    settings = load_settings({"VIMMON_REDIS_URL": f"redis://u:{SECRET}@h/0", "VIMMON_DATABASE_URL": DATABASE})
    for shown in (
        str(settings),
        repr(settings),
        settings.model_dump_json(),
        json.dumps(settings.model_dump(mode="json")),
    ):
        assert SECRET not in shown


def test_vimmon_up_tells_where_the_database_is_and_leaves_its_password_to_a_file_of_its_owner(tmp_path: Path) -> None:
    (tmp_path / "vimmon.env").write_text("")
    (tmp_path / "vimmon.env").chmod(0o644)
    stack = Stack(tmp_path, env={"VIMMON_DATABASE_URL": DATABASE})
    stack._describe()
    places = _places(stack)
    assert places["database"] == "postgresql+psycopg://vimmon:***@127.0.0.1:1/vimmon"
    assert SECRET not in json.dumps(places)
    assert SECRET in stack.env_file.read_text()
    assert stat.S_IMODE(stack.env_file.stat().st_mode) == 0o600


@pytest.mark.parametrize("command", [("db", "upgrade"), ("vim", "list"), ("lease", "list"), ("acl", "operator")])
@pytest.mark.parametrize(
    ("redis", "database"),
    [
        (f"redis://u:{SECRET}@h:x/0", None),
        (f"redis://u:{SECRET}@h/0?colour={SECRET}", None),
        (f"redis://{SECRET}", f"{SECRET}"),
        (f"http://u:{SECRET}@h", None),
        (f"redis+sentinel://u:{SECRET}@h/", None),
        (f"rediss://u:{SECRET}@h/0?ssl_ca_certs=/nowhere", None),
        ("redis://h", DATABASE),
        ("redis://h", f"postgresql://u:{SECRET}@h:x/d"),
        ("redis://h", f"oracle://u:{SECRET}@h/d"),
        ("redis://h", f"mysql://u:{SECRET}@127.0.0.1:1/d?colour={SECRET}"),
    ],
)
def test_no_error_repeats_a_password(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    redis: str,
    database: str | None,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("VIMMON_REDIS_URL", redis)
    monkeypatch.setenv("VIMMON_DATABASE_URL", database or f"sqlite:///{tmp_path}/vimmon.sqlite")
    vimmon = Command(capsys)
    vimmon("db", "upgrade")
    for form in ((), ("--json",)):
        ended = vimmon(*command, *form)
        assert SECRET not in ended.out + ended.err
        assert "Traceback" not in ended.err


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_whole_conductor_logs_in_json_and_no_line_of_any_of_its_processes_holds_a_password(
    database_url: str, tmp_path: Path
) -> None:
    database = make_url(database_url).set(password=SECRET)  # where nobody is asked for one, any will do
    upgrade(open_engine(database_url))
    with guarded_redis(tmp_path, users=[("conductor",)]) as redis:
        env = {
            "VIMMON_REDIS_URL": redis.url("vimmon-conductor"),
            "VIMMON_DATABASE_URL": database.render_as_string(hide_password=False),
            "VIMMON_LOG_FORMAT": "json",
            "OS_PASSWORD": f"{SECRET}-of-keystone",
            **{f"VIMMON_CONDUCTOR_{name}": value for name, value in (("BEAT_S", "0.2"), ("TTL_S", "1"))},
            "VIMMON_RECONCILE_INTERVAL_S": "0.2",
        }
        child = Child(
            "conductor", [sys.executable, "-m", "vimmon.conductor", "--http", "127.0.0.1:0"], tmp_path, env=env
        )

        def events() -> set[str]:
            lines = [json.loads(line) for line in child.log.read_text().splitlines()]
            return {line.get("event", line.get("message", "")) for line in lines}

        try:
            until(lambda: {"rpc_started", "http_started"} <= events() or not child.alive)
            with redis.client(ADMIN) as admin:
                admin.acl_deluser("vimmon-conductor")
            until(lambda: {"heartbeat_not_sent", "reconcile_not_done"} <= events(), within_s=30)
            os.kill(child.pid, signal.SIGTERM)
            assert child.wait_dead(15)
        finally:
            child.stop()
        written = child.log.read_text()
    assert all(json.loads(line)["level"] for line in written.splitlines())
    assert SECRET not in written
    assert redis.passwords["vimmon-conductor"] not in written
