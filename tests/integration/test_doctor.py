"""`vimmon doctor` on real databases and a real Redis; what Mistral adds is looked at where a Mistral runs."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from tests.support.command import Command, Ended
from tests.support.guarded_redis import ADMIN, GuardedRedis, guarded_redis
from vimmon.cli.doctor import stores
from vimmon.cli.doctor.finding import Check, Finding, State, conclusion, exit_code, ok, wrong
from vimmon.cli.doctor.parts import Parts
from vimmon.cli.doctor.run import diagnose
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer
from vimmon.registry.database import open_engine
from vimmon.registry.examining import Database
from vimmon.registry.schema import known_revisions
from vimmon.registry.store import Report, VimStore
from vimmon.settings import Settings
from vimmon.version import VERSION
from vimmon.vim import Vim, VimStatus

EXECUTOR = "mistral-1:42:ab12"
NAMES = (
    *("Redis", "Redis version", "Redis memory", "Redis persistence", "database", "tables", "installation", "clocks"),
    *("Mistral", "action", "versions", "conductors", "executors", "VIMs", "requests", "jobs", "ICMP", "Tacker"),
)


@pytest.fixture
def vimmon(vimmon: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("VIMMON_MISTRAL_URL", f"http://127.0.0.1:{free_port()}/v2")
    return vimmon


def doctor(vimmon: Command) -> tuple[Ended, dict[str, Finding]]:
    ended = vimmon("doctor", "--json")
    assert ended.err == ""
    found = {one["check"]: Finding.model_validate(one) for one in ended.json["findings"]}
    assert tuple(found) == NAMES
    assert ended.json["ok"] == (ended.code == 0)
    for finding in found.values():
        assert finding.remedy or finding.state in (State.OK, State.UNKNOWN), finding
    return ended, found


def said(finding: Finding) -> tuple[str, str]:
    return str(finding.state), finding.found


def lives(redis: Redis, kind: str, name: str, **fields: str) -> None:
    """As a part that lives writes it."""
    redis.zadd(f"vimmon:{kind}s", {name: 1})
    said: dict[Any, Any] = {"version": VERSION, "host": "host-1", **fields}
    redis.hset(f"vimmon:{kind}:{name}", mapping=said)
    redis.expire(f"vimmon:{kind}:{name}", 30)


def store() -> VimStore:
    return VimStore(open_engine(os.environ["VIMMON_DATABASE_URL"]))


def age(*names: str) -> None:
    """As if nothing had been changed lately."""
    with open_engine(os.environ["VIMMON_DATABASE_URL"]).begin() as connection:
        for name in names:
            connection.execute(text("UPDATE vims SET updated_at = '2026-01-01' WHERE name = :name"), {"name": name})


def register(vimmon: Command, name: str, *more: str) -> Vim:
    assert vimmon("vim", "register", name, "--auth-url", "http://192.0.2.1:5000/v3", *more).code == 0
    return store().get(name)


def hold(redis: Redis, *vims: Vim) -> None:
    lives(redis, "executor", EXECUTOR)
    for vim in vims:
        redis.hset(f"vimmon:executor:{EXECUTOR}:held", vim.id, f"{vim.generation}:{vim.action_id}")


def test_what_is_well_is_told_and_what_is_away_ends_with_3(vimmon: Command, redis: Redis) -> None:
    redis.config_set("appendonly", "no")
    lives(redis, "conductor", "host-1:7:aa")
    hold(redis, register(vimmon, "tokyo"))
    redis.set("vimmon:installation", store().installation_id())
    ended, found = doctor(vimmon)
    assert ended.code == 3
    assert {name for name, finding in found.items() if finding.state is State.AWAY} == {"Mistral"}
    assert "Connection refused" in found["Mistral"].found
    assert "Max retries" not in found["Mistral"].found
    assert said(found["action"]) == ("unknown", "not asked, because of: Mistral")
    assert found["Redis"].found.startswith(os.environ["VIMMON_REDIS_URL"] + " answers in ")
    assert said(found["tables"]) == ("ok", f"revision {known_revisions()[-1]}, the newest")
    assert said(found["clocks"]) == ("ok", "those of Redis, the database and this host agree")
    assert said(found["conductors"]) == ("ok", "1 lives, on host-1")
    assert said(found["executors"]) == ("ok", "1 lives, on host-1")
    assert said(found["VIMs"]) == ("ok", "all 1 are held as the database wants")
    assert found["versions"].state is State.OK
    assert said(found["Tacker"]) == ("ok", "not followed")
    shown = vimmon("doctor")
    assert shown.code == 3
    assert shown.out.splitlines()[0].split() == ["CHECK", "STATE", "FOUND"]
    assert shown.out.endswith("\nnot well: Mistral\n")
    assert "to do:   Check that Mistral's API runs" in shown.out


def test_without_redis_and_database_both_are_told_and_nothing_is_asked_of_them(
    vimmon: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIMMON_REDIS_URL", f"redis://me:secret@127.0.0.1:{free_port()}/0")
    monkeypatch.setenv("VIMMON_DATABASE_URL", f"postgresql://me:secret@127.0.0.1:{free_port()}/vimmon")
    ended, found = doctor(vimmon)
    assert (ended.code, "secret" in ended.out) == (3, False)
    assert {name for name, one in found.items() if one.state is State.AWAY} == {"Redis", "database", "Mistral"}
    assert {name for name, one in found.items() if one.state is State.UNKNOWN} == set(NAMES) - {
        *("Redis", "database", "Mistral")
    }


def test_an_unknown_setting_is_wrong_usage(vimmon: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIMMON_REDIS_ULR", "x")
    assert vimmon("doctor").code == 2


def test_old_and_missing_tables_are_wrong(vimmon: Command, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIMMON_DATABASE_URL", database_url)
    _, found = doctor(vimmon)
    assert found["database"].state is State.OK
    assert found["database"].found.split()[0] in ("SQLite", "PostgreSQL", "MariaDB", "MySQL")
    assert said(found["tables"]) == ("wrong", f"missing; this vimmon needs {known_revisions()[-1]}")
    assert found["tables"].remedy == "Bring the tables up to date: vimmon db upgrade"
    assert found["VIMs"].found == "not asked, because of: tables"
    assert vimmon("db", "upgrade").code == 0
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE vimmon_version SET version_num = '9999'"))
    engine.dispose()
    _, found = doctor(vimmon)
    assert said(found["tables"]) == ("wrong", "of a newer vimmon: revision 9999")


def test_a_redis_of_another_database_is_wrong(vimmon: Command, redis: Redis) -> None:
    _, found = doctor(vimmon)
    assert found["installation"].state is State.WARNING
    redis.set("vimmon:installation", "another")
    _, found = doctor(vimmon)
    assert found["installation"].state is State.WRONG


def test_a_redis_that_may_throw_away_or_forget_is_told(vimmon: Command, redis: Redis) -> None:
    try:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        _, found = doctor(vimmon)
        assert found["Redis memory"].state is State.WARNING
        assert said(found["Redis persistence"])[0] == "warning"
        redis.config_set("maxmemory", 100 * 2**20)
        _, found = doctor(vimmon)
        assert found["Redis memory"].state is State.WRONG
        assert "allkeys-lru" in found["Redis memory"].found
        assert "maxmemory-policy noeviction" in str(found["Redis memory"].remedy)
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("save", "3600 1")
        _, found = doctor(vimmon)
        assert found["Redis memory"].state is State.OK
        assert said(found["Redis persistence"]) == ("ok", "snapshots (save 3600 1), no append-only file")
        redis.config_set("maxmemory", 1)
        _, found = doctor(vimmon)
        assert said(found["Redis memory"])[1].endswith("nearly full, then it refuses what vimmon writes")
    finally:
        for name, value in (("maxmemory", 0), ("maxmemory-policy", "noeviction"), ("save", "")):
            redis.config_set(name, value)


def test_an_append_only_file_is_enough_and_a_replica_is_no_master(
    vimmon: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RedisServer(tmp_path / "redis", persistent=True) as server:
        monkeypatch.setenv("VIMMON_REDIS_URL", server.url)
        _, found = doctor(vimmon)
        assert said(found["Redis persistence"]) == ("ok", "append-only file")
        with Redis.from_url(server.url) as client:
            client.replicaof("127.0.0.1", str(free_port()))
        _, found = doctor(vimmon)
        assert found["Redis version"].state is State.WRONG
        assert "replica" in found["Redis version"].found


def test_vims_that_nobody_holds_are_told_unless_they_were_changed_just_now(vimmon: Command, redis: Redis) -> None:
    vims = [register(vimmon, name) for name in ("tokyo", "osaka", "kyoto")]
    _, found = doctor(vimmon)
    assert said(found["executors"])[0] == "away"
    hold(redis, vims[0])
    _, found = doctor(vimmon)
    assert said(found["VIMs"]) == (
        "ok",
        "1 of 3 are held as the database wants, the others were changed just now",
    )
    age("osaka", "tokyo")
    _, found = doctor(vimmon)
    assert said(found["VIMs"]) == (
        "wrong",
        "1 of 3 are not held as the database wants: osaka (no executor holds it)",
    )


def test_parts_of_other_versions_suspicious_executors_and_missing_conductors_are_told(
    vimmon: Command, redis: Redis
) -> None:
    _, found = doctor(vimmon)
    assert said(found["conductors"])[0] == "away"
    lives(redis, "conductor", "a:1:x", version="0.0.9")
    lives(redis, "executor", EXECUTOR, prober_degraded="1")
    redis.zadd("vimmon:executors", {"dead:1:x": 1})
    _, found = doctor(vimmon)
    assert "1 of conductor 0.0.9" in found["versions"].found
    assert found["executors"].found == f"{EXECUTOR}: reaches none of its VIMs, and suspects itself"


def test_requests_and_jobs_that_wait_or_were_put_aside_are_told(
    vimmon: Command, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIMMON_REQUESTS_MAX", "100")
    redis.rpush("vimmon:rpc:dead", "x")
    redis.zadd("rq:failed:vimmon", {"start-1": 1})
    _, found = doctor(vimmon)
    assert said(found["requests"])[1].startswith("1 requests were put aside")
    assert found["jobs"].state is State.WARNING
    redis.rpush("vimmon:rpc:requests", *["x"] * 11)
    _, found = doctor(vimmon)
    assert said(found["requests"])[1] == "11 requests wait for a conductor"


def test_executors_that_may_not_ping_are_known_by_their_vims(vimmon: Command) -> None:
    _, found = doctor(vimmon)
    assert found["ICMP"].state is State.OK
    vim = register(vimmon, "tokyo", "--probe", "icmp")
    reason = (
        "cannot probe: no ICMP socket is allowed here: let net.ipv4.ping_group_range contain this process's group, or"
        " grant CAP_NET_RAW"
    )
    store().record_statuses([Report(vim.id, str(vim.action_id), VimStatus.UNKNOWN, 1, EXECUTOR, reason)])
    _, found = doctor(vimmon)
    assert said(found["ICMP"]) == ("wrong", "1 of 1 VIMs with an icmp probe have an executor that may not ping")
    assert "ping_group_range" in str(found["ICMP"].remedy)


def test_tackers_list_that_is_not_believed_or_no_longer_read_is_told(vimmon: Command, redis: Redis) -> None:
    redis.hset("vimmon:tacker", "followed", "7")
    _, found = doctor(vimmon)
    assert said(found["Tacker"]) == ("ok", "7 of its VIMs are watched")
    redis.hset("vimmon:tacker", "skipped", "2")
    _, found = doctor(vimmon)
    assert said(found["Tacker"]) == ("warning", "7 of its VIMs are watched, 2 are not")
    now_ms = redis.time()[0] * 1000
    redis.hset("vimmon:tacker", mapping={"interval_s": "60.0", "read_ms": str(now_ms - 170_000)})
    _, found = doctor(vimmon)
    assert said(found["Tacker"]) == ("warning", "7 of its VIMs are watched, 2 are not")
    redis.hset("vimmon:tacker", "read_ms", str(now_ms - 190_000))
    _, found = doctor(vimmon)
    assert (found["Tacker"].state, "is to be read every 60 s" in found["Tacker"].found) == ("wrong", True)
    assert "redis-cli DEL vimmon:tacker" in str(found["Tacker"].remedy)
    redis.hset("vimmon:tacker", mapping={"failed": "3", "error": '"HTTP 500"'})
    _, found = doctor(vimmon)
    assert said(found["Tacker"]) == ("wrong", "3 passes have failed, the last: HTTP 500")
    doubt = {"times": 1, "missing": ["a", "b", "c"], "out_of": 5, "since_ms": 1}
    redis.hset("vimmon:tacker", "doubt", json.dumps(doubt))
    _, found = doctor(vimmon)
    assert found["Tacker"].found.startswith("its list lacks 3 of 5 VIMs")
    assert "--believe-loss" in str(found["Tacker"].remedy)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    with guarded_redis(tmp_path_factory.mktemp("guarded")) as guarded:
        yield guarded


@pytest.mark.parametrize(
    ("user", "not_told"),
    [
        ("vimmon-conductor", {"Redis persistence"}),
        ("vimmon-operator", {"Redis persistence"}),
        ("vimmon-server", {"Redis persistence", "installation", "versions", "conductors", "requests"}),
        ("vimmon-executor-mistral-1", set(NAMES) - {"Redis", "database", "tables", "clocks", "Mistral", "ICMP"}),
        (ADMIN, set()),
    ],
)
def test_what_a_user_of_redis_may_not_ask_is_told_and_the_rest_is_found_out(
    vimmon: Command, guarded: GuardedRedis, monkeypatch: pytest.MonkeyPatch, user: str, not_told: set[str]
) -> None:
    monkeypatch.setenv("VIMMON_REDIS_URL", guarded.url(user))
    ended, found = doctor(vimmon)
    assert guarded.passwords[user] not in ended.out
    assert {name for name, one in found.items() if one.state is State.UNKNOWN} - {"action"} == not_told - {"action"}
    for name in not_told - {"action"}:
        assert "may not ask" in found[name].found


@pytest.mark.parametrize("user", ["vimmon-conductor", "vimmon-operator"])
def test_with_an_append_only_file_operator_and_conductor_find_everything_out(
    vimmon: Command, guarded: GuardedRedis, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    monkeypatch.setenv("VIMMON_REDIS_URL", guarded.url(user))
    with guarded.client(ADMIN) as admin:
        admin.config_set("appendonly", "yes")
        guarded.denied()
        _, found = doctor(vimmon)
        admin.config_set("appendonly", "no")
    assert {name for name, one in found.items() if one.state is State.UNKNOWN} == {"action"}  # Mistral is away
    assert guarded.denied() == []


def test_clocks_that_are_apart_are_told(redis_server: RedisServer, engine: Engine) -> None:
    class Late(Parts):
        def redis_ahead_s(self) -> float:
            return super().redis_ahead_s() - 3600

    url = engine.url.render_as_string(hide_password=False)
    settings = Settings.model_validate({"redis_url": redis_server.url, "database_url": url})
    assert abs(Parts(settings).redis_ahead_s()) < 2
    assert abs(Parts(settings).database_ahead_s()) < 2
    assert stores.clocks(Parts(settings)).state is State.OK
    found = stores.clocks(Late(settings))
    assert found.state is State.WARNING
    assert found.text.startswith("Redis's is 3600 s behind this host's: ")
    assert Database(url).examine().version


def test_a_check_that_fails_itself_ends_nothing() -> None:
    def breaks(_: Parts) -> Any:
        raise ZeroDivisionError("a bug")

    first = Check("first", breaks)
    checks = (first, Check("second", lambda _: wrong("bad", "mend it")), Check("third", lambda _: ok("fine"), (first,)))
    findings = diagnose(Parts(Settings()), checks)
    assert [(str(one.state), one.found) for one in findings] == [
        ("unknown", "the check itself failed: ZeroDivisionError: a bug"),
        ("wrong", "bad"),
        ("ok", "fine"),
    ]
    assert exit_code(findings) == 1
    assert exit_code(findings[:1]) == 4
    assert exit_code(findings[2:]) == 0


def test_what_could_not_be_found_out_is_not_called_well() -> None:
    untold, bad, well = (
        Finding(check=state, state=state, found="") for state in (State.UNKNOWN, State.WRONG, State.OK)
    )
    assert conclusion([well]) == "nothing that is needed is away or wrong"
    assert conclusion([untold, well]).startswith("not found out: unknown; of the rest nothing")
    assert conclusion([untold, bad, well]) == "not well: wrong"
    away = well.model_copy(update={"state": State.AWAY})
    assert [exit_code(one) for one in ([well], [untold, well], [untold, bad], [untold, bad, away])] == [0, 4, 1, 3]
