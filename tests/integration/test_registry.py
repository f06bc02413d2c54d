"""The registry on a real database and a real Redis: what a change leaves behind, and what a refused one does not."""

import logging
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text

from tests.integration.bench import Bench, upkeep
from tests.integration.passes import Pass
from vimmon import Registry
from vimmon.embedded.process import free_port
from vimmon.errors import InvalidInput, NameTaken, VimChanged, VimNotFound
from vimmon.lease.keys import Keys
from vimmon.lease.store import LeaseStore
from vimmon.mistral.queue import START, STOP, JobQueue
from vimmon.vim import VimStatus

URL = "https://keystone.example.org:5000/v3"


@pytest.fixture
def registry(bench: Bench) -> Registry:
    return Registry(bench.vims, bench.leases, JobQueue(bench.redis, name="vimmon"))


def jobs(bench: Bench) -> list[tuple[str | None, list[Any]]]:
    return [(job.func_name, list(job.args)) for job in JobQueue(bench.redis, name="vimmon").queue.get_jobs()]


def everything(bench: Bench) -> tuple[list[Any], set[Any]]:
    """All rows of the database, and all keys of Redis."""
    with bench.engine.connect() as connection:
        rows = [
            tuple(row)
            for table in ("vims", "status_changes")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        ]
    return rows, set(bench.redis.keys())


def test_registering_writes_a_row_grants_the_lease_and_has_the_monitor_started(
    bench: Bench, registry: Registry
) -> None:
    change = registry.register("tokyo", URL)
    vim = change.vim
    assert change.delayed is None
    assert (vim.status, vim.generation, vim.type, vim.auth_url) == ("PENDING", 1, "openstack", URL)
    assert vim.probe["preset"] == "keystone"
    assert bench.redis.get(bench.keys.lease(vim.id)) == f"1:{vim.action_id}".encode()
    assert jobs(bench) == [(START, [vim.id, 1])]
    assert registry.get("tokyo") == registry.get(vim.id) == vim
    assert registry.list() == [vim]
    assert registry.list(VimStatus.REACHABLE) == []


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": " "}, "name"),
    "an id for a name": ({"name": "7f9c2ba4-e88f-4cde-9f0f-1e2d3c4b5a69"}, "name"),
    "a line break in the name": ({"name": "a\nb"}, "name"),
    "a long name": ({"name": "n" * 256}, "name"),
    "no URL": ({"auth_url": ""}, "auth_url"),
    "another scheme": ({"auth_url": "ftp://h/"}, "auth_url"),
    "a password": ({"auth_url": "https://ops:s3cr3t@h:5000/v3"}, "auth_url"),
    "a query": ({"auth_url": "https://h/v3?token=s3cr3t"}, "auth_url"),
    "IPv6 without brackets": ({"auth_url": "http://2001:db8::1:5000"}, "auth_url"),
    "a long URL": ({"auth_url": "http://h/" + "x" * 2000}, "auth_url"),
    "an unknown type": ({"type": "vmware"}, "type"),
    "an unknown kind of probe": ({"probe": {"kind": "carrier-pigeon"}}, "probe.kind"),
    "an unknown setting": ({"probe": {"colour": "green"}}, "probe.colour"),
    "a negative interval": ({"probe": {"interval_s": -1}}, "probe.interval_s"),
    "a password in a setting": ({"probe": {"password": "s3cr3t"}}, "probe.password"),
}


CALLS = [("register", bad) for bad in BAD] + [("update", bad) for bad in BAD if bad != "an unknown type"]


@pytest.mark.parametrize(("call", "bad"), CALLS)
def test_bad_input_is_refused_by_name_with_a_remedy_and_changes_nothing(
    bench: Bench, registry: Registry, call: str, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    changed, field = BAD[bad]
    registry.register("osaka", URL)
    before = everything(bench)
    given = {"name": "tokyo", "auth_url": URL} | changed if call == "register" else {"vim": "osaka"} | changed
    with pytest.raises(InvalidInput) as caught:
        getattr(registry, call)(**given)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert caught.value.remedy
    assert everything(bench) == before
    assert "s3cr3t" not in str(caught.value) + caplog.text


def test_a_name_is_unique_among_the_living(bench: Bench, registry: Registry) -> None:
    registry.register("tokyo", URL)
    before = everything(bench)
    with pytest.raises(NameTaken):
        registry.register("tokyo", URL)
    assert everything(bench) == before
    registry.deregister("tokyo")
    assert registry.register("tokyo", URL).vim.generation == 1


def test_another_auth_url_is_watched_by_another_action(bench: Bench, registry: Registry) -> None:
    old = registry.register("tokyo", URL).vim
    new = registry.update("tokyo", auth_url="https://[2001:db8::1]:5000/").vim
    assert (new.generation, new.auth_url, new.status) == (2, "https://[2001:db8::1]:5000/", "PENDING")
    assert new.action_id != old.action_id
    assert bench.redis.get(bench.keys.lease(new.id)) == f"2:{new.action_id}".encode()
    assert jobs(bench) == [(START, [old.id, 1]), (START, [old.id, 2]), (STOP, [old.id, old.action_id])]


def test_another_probe_is_carried_out_by_another_action(bench: Bench, registry: Registry) -> None:
    registry.register("tokyo", URL)
    new = registry.update("tokyo", probe={"kind": "tcp", "interval_s": 5}).vim
    assert (new.generation, new.probe["kind"], new.probe["interval_s"]) == (2, "tcp", 5)


def test_another_name_is_no_reason_to_begin_anew(bench: Bench, registry: Registry) -> None:
    old = registry.register("tokyo", URL).vim
    new = registry.update("tokyo", name="edo").vim
    assert (new.name, new.generation, new.action_id) == ("edo", 1, old.action_id)
    assert len(jobs(bench)) == 1


def test_a_change_to_what_it_is_already_changes_nothing(bench: Bench, registry: Registry) -> None:
    registry.register("tokyo", URL)
    before = everything(bench)
    assert registry.update("tokyo", name="tokyo", auth_url=URL).vim.generation == 1
    assert everything(bench) == before


def test_of_two_changes_at_once_one_is_refused(
    bench: Bench, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_before = registry.register("tokyo", URL).vim
    registry.update("tokyo", auth_url="https://one.example.org/")
    before = everything(bench)
    monkeypatch.setattr(bench.vims, "get", lambda vim: read_before)
    with pytest.raises(VimChanged) as caught:
        registry.update("tokyo", auth_url="https://two.example.org/")
    assert "vimmon vim show" in caught.value.remedy
    assert everything(bench) == before


def test_deregistering_frees_the_name_leaves_a_tombstone_and_has_mistral_cleaned(
    bench: Bench, registry: Registry
) -> None:
    vim = registry.register("tokyo", URL).vim
    registry.deregister("tokyo")
    assert bench.redis.get(bench.keys.lease(vim.id)) == b"2:-"
    assert jobs(bench)[-1] == (STOP, [vim.id, vim.action_id])
    for gone in ("tokyo", vim.id):
        with pytest.raises(VimNotFound):
            registry.get(gone)
    with pytest.raises(VimNotFound):
        registry.deregister("tokyo")


def test_without_redis_a_change_is_written_the_caller_told_and_the_rest_done_later(bench: Bench) -> None:
    away = Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    registry = Registry(bench.vims, LeaseStore(away, Keys(), ttl_s=900), JobQueue(away, name="vimmon"))
    change = registry.register("tokyo", URL)
    assert change.delayed is not None
    assert "Redis cannot be reached" in change.delayed
    assert bench.row(change.vim)["status"] == "PENDING"
    Pass(bench, start_grace_s=0.001)()
    assert (START, [change.vim.id, 1]) in jobs(bench)
    gone = registry.deregister("tokyo")
    assert gone.delayed is not None
    upkeep(bench, forgotten_after_s=-1).enqueue_forgotten()
    assert jobs(bench)[-1] == (STOP, [change.vim.id, None])
