"""The command line on a real SQLite database and a real Redis; what an executor would write is written by hand."""

import os
import re
import uuid

import pytest
from redis import Redis

from tests.support.command import Command
from vimmon.embedded.process import free_port
from vimmon.registry.database import open_engine
from vimmon.registry.store import Report, VimStore
from vimmon.vim import VimStatus

FIELDS = (
    *("id", "name", "type", "auth_url", "probe", "status", "reason", "status_since", "action_id", "generation"),
    *("execution_id", "origin", "executor", "last_checked", "created_at", "updated_at"),
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
KEYSTONE = "http://127.0.0.1:5000/v3"


@pytest.fixture
def without_redis(vimmon: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("VIMMON_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    return vimmon


def register(vimmon: Command, name: str = "tokyo") -> dict[str, object]:
    ended = vimmon("vim", "register", name, "--auth-url", KEYSTONE, "--json")
    assert (ended.code, ended.err) == (0, "")
    return dict(ended.json)


def hold(
    redis: Redis, vim: dict[str, object], *, lease: str | None = None, executor: str = "mistral-1:42:ab12"
) -> None:
    """As an executor would that holds the VIM and had a status written."""
    lease = lease or f"{vim['generation']}:{vim['action_id']}"
    redis.set(f"vimmon:status:{vim['id']}", f"{vim['generation']}:1:REACHABLE:{executor}:9f")
    redis.zadd("vimmon:executors", {executor: 1})
    redis.hset(f"vimmon:executor:{executor}", "monitors", "1")
    redis.hset(f"vimmon:executor:{executor}:held", str(vim["id"]), lease)
    redis.hset(f"vimmon:executor:{executor}:seen", str(vim["id"]), "1770000000.250")
    redis.expire(f"vimmon:executor:{executor}", 30)


def test_a_vim_as_json_has_exactly_the_promised_fields_and_times_in_utc(vimmon: Command) -> None:
    vim = register(vimmon)
    assert tuple(vim) == FIELDS
    assert (vim["status"], vim["generation"], vim["executor"], vim["last_checked"]) == ("PENDING", 1, None, None)
    for field in ("status_since", "created_at", "updated_at"):
        assert TIME.fullmatch(str(vim[field]))
    assert vimmon("vim", "show", "tokyo", "--json").json == vim | {"changes": []}
    assert vimmon("vim", "list", "--json").json == [vim]


def test_a_vim_is_found_by_name_and_by_id(vimmon: Command) -> None:
    vim = register(vimmon)
    assert vimmon("vim", "show", str(vim["id"])).out == vimmon("vim", "show", "tokyo").out
    assert vimmon("lease", "show", str(vim["id"]), "--json").json["name"] == "tokyo"


def test_the_start_of_a_name_or_id_will_do_in_every_command(vimmon: Command) -> None:
    vim = register(vimmon)
    start = str(vim["id"])[:8]
    assert vimmon("lease", "show", start, "--json").json["name"] == "tokyo"
    assert vimmon("vim", "check", start).err.startswith("error: nobody holds VIM 'tokyo' now")
    assert vimmon("vim", "update", start, "--name", "edo", "--json").json["id"] == vim["id"]
    assert vimmon("vim", "show", "ed", "--json").json["id"] == vim["id"]
    register(vimmon, "edmonton")
    refused = vimmon("vim", "deregister", "ed")
    assert refused.code == 1
    assert refused.err.splitlines()[0] == "error: 'ed' is the start of 2 VIMs:"
    assert f"  edo ({vim['id']})" in refused.err
    assert refused.err.endswith("\n  Give more of its name or id\n")
    assert len(vimmon("vim", "list", "--json").json) == 2
    assert vimmon("vim", "deregister", start).out == f"de-registered VIM edo ({vim['id']})\n"


def test_a_vim_is_shown_with_its_latest_changes(vimmon: Command) -> None:
    vim = register(vimmon)
    store = VimStore(open_engine(os.environ["VIMMON_DATABASE_URL"]))
    for number in range(7):
        status = (VimStatus.REACHABLE, VimStatus.UNREACHABLE)[number % 2]
        store.record_statuses([Report(str(vim["id"]), str(vim["action_id"]), status, None, "holder", f"turn {number}")])
    changes = vimmon("vim", "show", "tokyo", "--json").json["changes"]
    assert [change["reason"] for change in changes] == ["turn 6", "turn 5", "turn 4", "turn 3", "turn 2"]
    assert TIME.fullmatch(changes[0].pop("at"))
    assert changes[0] == {
        **{"old": "UNREACHABLE", "new": "REACHABLE", "reason": "turn 6", "generation": 1, "seq": 7},
        "action_id": vim["action_id"],
    }
    assert len(vimmon("vim", "show", "tokyo", "--json", "--limit", "100").json["changes"]) == 7
    shown = vimmon("vim", "show", "tokyo", "--limit", "1").out
    assert "turn 6" in shown
    assert "turn 5" not in shown
    assert "latest changes" not in vimmon("vim", "show", "tokyo", "--limit", "0").out


def test_the_executor_that_holds_the_wanted_lease_is_shown_with_its_last_check(vimmon: Command, redis: Redis) -> None:
    vim = register(vimmon)
    hold(redis, vim)
    shown = vimmon("vim", "show", "tokyo", "--json").json
    assert (shown["executor"], shown["last_checked"]) == ("mistral-1:42:ab12", "2026-02-02T02:40:00.250000Z")
    assert "mistral-1-42" in vimmon("vim", "list").out


def test_an_executor_that_is_dead_or_holds_another_lease_is_not_shown(vimmon: Command, redis: Redis) -> None:
    vim = register(vimmon)
    hold(redis, vim, lease="1:another")
    assert vimmon("vim", "show", "tokyo", "--json").json["executor"] is None
    hold(redis, vim)
    redis.persist("vimmon:executor:mistral-1:42:ab12")  # no time to live is no proof of life
    assert vimmon("vim", "show", "tokyo", "--json").json["executor"] is None
    redis.delete("vimmon:executor:mistral-1:42:ab12")
    assert vimmon("vim", "show", "tokyo", "--json").json["executor"] is None


def test_a_list_can_be_narrowed_to_a_status(vimmon: Command) -> None:
    register(vimmon)
    assert [vim["name"] for vim in vimmon("vim", "list", "--status", "PENDING", "--json").json] == ["tokyo"]
    assert vimmon("vim", "list", "--status", "REACHABLE", "--json").json == []
    assert vimmon("vim", "list", "--status", "REACHABLE").out == "no VIM is REACHABLE\n"


def test_a_change_of_the_address_or_probe_makes_a_generation_and_a_name_does_not(vimmon: Command) -> None:
    register(vimmon)
    assert vimmon("vim", "update", "tokyo", "--name", "edo", "--json").json["generation"] == 1
    assert vimmon("vim", "update", "edo", "--auth-url", f"{KEYSTONE}/x", "--json").json["generation"] == 2
    changed = vimmon("vim", "update", "edo", "--probe", "fall=5", "--json").json
    assert (changed["generation"], changed["probe"]["fall"]) == (3, 5)
    again = vimmon("vim", "update", "edo", "--probe", "fall=5")
    assert (again.code, again.out) == (0, "VIM edo is so already; nothing was changed\n")


@pytest.mark.parametrize(
    ("arguments", "error", "remedy"),
    [
        (("vim", "show", "kyoto"), "VIM 'kyoto' is not registered", "List the known ones: vimmon vim list"),
        (("vim", "deregister", "kyoto"), "VIM 'kyoto' is not registered", "List the known ones: vimmon vim list"),
        (("lease", "show", str(uuid.UUID(int=1))), f"VIM '{uuid.UUID(int=1)}' is not registered", "List the known"),
        (("vim", "register", "tokyo", "--auth-url", KEYSTONE), "name: a VIM named 'tokyo' is registered", "Choose"),
        (("vim", "register", "x", "--auth-url", "http://me:secret@h"), "auth_url: it contains a user", "Leave out"),
        (("vim", "register", "x", "--auth-url", KEYSTONE, "--probe", "tcp,fal=2"), "probe.fal: ", "Did you mean fall?"),
    ],
)
def test_what_is_refused_ends_with_1_and_a_remedy(
    vimmon: Command, arguments: tuple[str, ...], error: str, remedy: str
) -> None:
    register(vimmon)
    ended = vimmon(*arguments)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"error: {error}")
    assert f"\n  {remedy}" in ended.err
    assert "secret" not in ended.err
    assert len(vimmon("vim", "list", "--json").json) == 1


def test_a_lease_is_shown_with_its_key_its_holder_and_that_all_agree(vimmon: Command, redis: Redis) -> None:
    vim = register(vimmon)
    hold(redis, vim)
    report = vimmon("lease", "show", "tokyo", "--json").json
    lease = f"1:{vim['action_id']}"
    assert (report["key"], report["value"], report["wanted"]) == (f"vimmon:lease:{vim['id']}", lease, lease)
    assert 890 < report["ttl_s"] <= 900
    assert report["holders"] == [{"executor": "mistral-1:42:ab12", "lease": lease}]
    assert report["differences"] == []
    assert vimmon("lease", "list").out.splitlines()[1].endswith("  mistral-1-42  yes")


def test_a_lease_that_the_database_does_not_want_is_shown_as_a_difference(vimmon: Command, redis: Redis) -> None:
    vim = register(vimmon)
    hold(redis, vim)
    redis.set(f"vimmon:lease:{vim['id']}", "9:stranger")
    shown = vimmon("lease", "show", "tokyo").out
    assert f"no: the database wants 1:{vim['action_id']}, the lease says 9:stranger" in shown
    assert "never expires" in shown


def test_the_tombstone_of_a_deregistered_vim_can_be_looked_at_by_its_id(vimmon: Command) -> None:
    vim = register(vimmon)
    assert vimmon("vim", "deregister", "tokyo", "--json").json == vim
    report = vimmon("lease", "show", str(vim["id"]), "--json").json
    assert (report["name"], report["wanted"], report["value"], report["differences"]) == (None, None, "2:-", [])
    assert vimmon("lease", "list").out == "no VIM is registered, so there is no lease\n"


def test_without_redis_vims_are_listed_with_a_warning(without_redis: Command) -> None:
    ended = without_redis("vim", "register", "tokyo", "--auth-url", KEYSTONE)
    assert (ended.code, ended.out.startswith("registered VIM tokyo")) == (0, True)
    assert ended.err.startswith("warning: the change is stored; its effect is delayed: Redis cannot be reached")
    assert len(ended.err.splitlines()) == 1
    listed = without_redis("vim", "list", "--json")
    assert (listed.code, listed.json[0]["executor"], listed.json[0]["last_checked"]) == (0, None, None)
    assert listed.err.startswith("warning: executor and last check are not shown")


def test_without_redis_leases_cannot_be_shown(without_redis: Command) -> None:
    for arguments in (("lease", "list"), ("lease", "show", str(uuid.uuid4()))):
        ended = without_redis(*arguments)
        assert (ended.code, ended.out) == (3, "")
        assert ended.err.startswith("error: Redis cannot be reached")


def test_an_upgrade_may_be_repeated_and_names_the_installation(vimmon: Command) -> None:
    first, second = vimmon("db", "upgrade", "--json").json, vimmon("db", "upgrade", "--json").json
    assert first == second
    assert uuid.UUID(first["installation"])
