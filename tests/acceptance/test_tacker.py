"""Beside a real Tacker server: the tour of `make tacker-demo`, and what it costs to give statuses back."""

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import create_engine, text

from tests.acceptance.stack import becomes
from tests.support.strict import require
from tests.tacker.ground import Ground, missing
from tests.tacker.tour import show
from vimmon.cli.narrator import SilentNarrator
from vimmon.embedded.tour import Tour

TOKEN = re.compile(rb"gAAAA[\w-]{20,}")  # what a fernet token, and a password of Tacker's, begins with
GIVES = {"VIMMON_TACKER_GIVE_STATUS": "yes"}

pytestmark = pytest.mark.timeout(300)


@dataclass
class Toured:
    ground: Ground
    tour: Tour


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toured]:
    require(missing())
    with closing(Ground(tmp_path_factory.mktemp("tacker"))) as ground:
        yield Toured(ground, show(ground, SilentNarrator()))


class Listed:
    """A VIM of Tacker's that vimmon watches, and what Tacker has of it."""

    def __init__(self, ground: Ground) -> None:
        user = ground.vim_user
        credentials = {"username": user["OS_USERNAME"], "password": user["OS_PASSWORD"], "user_domain_name": "Default"}
        project = {"name": user["OS_PROJECT_NAME"], "project_domain_name": "Default"}
        vim = {"name": "osaka", "type": "openstack", "auth_url": ground.elsewhere.url("")}
        self.ground = ground
        self.id = ""
        made = self.api("POST", vim=vim | {"auth_cred": credentials, "vim_project": project})
        self.id = str(made.json()["vim"]["id"])

    def api(self, method: str, **body: object) -> Any:
        url = f"{self.ground.tacker.url}/v1.0/vims" + (f"/{self.id}" if self.id else "")
        return self.ground.session.request(url, method, json=body or None, raise_exc=False)

    def put(self, extra: object) -> Any:
        return self.api("PUT", vim={"extra": extra})

    @property
    def extra(self) -> dict[str, Any]:
        return dict(self.api("GET").json()["vim"]["extra"])

    def given(self) -> int:
        """To how many VIMs one pass, which gives statuses back, has given one."""
        return int(json.loads(self.ground.sync_once("--json", env=GIVES).stdout)["given"])

    def secrets(self) -> tuple[object, ...]:
        """The row with the VIM's credentials, and the key that they are encrypted with."""
        key = self.ground.tacker.vim_keys / self.id
        return *self.execute("SELECT * FROM vimauths WHERE vim_id = :id"), key.read_bytes(), key.stat().st_mtime_ns

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        """In Tacker's own database; what the last one found."""
        engine = create_engine(self.ground.tacker.database_url)
        with engine.begin() as connection:
            for statement in statements:
                result = connection.execute(text(statement), {"id": self.id} if ":id" in statement else {})
            found = [tuple(row) for row in result] if result.returns_rows else []
        engine.dispose()
        return found

    def is_watched(self) -> bool:
        return any(vim.id == self.id for vim in self.ground.stack.registry().list())

    def status(self) -> str:
        return str(self.ground.stack.registry().get(self.id).status)

    def logins(self) -> list[str]:
        """What Tacker asks of a VIM, and vimmon does not: its own probe is GET /v3."""
        return [asked for asked in self.ground.elsewhere.asked if asked != "GET /v3"]


@pytest.fixture
def listed(toured: Toured) -> Iterator[Listed]:
    vim = Listed(toured.ground)
    becomes(vim.is_watched, True)
    becomes(vim.status, "REACHABLE")
    yield vim
    assert vim.api("DELETE").status_code == 204
    becomes(vim.is_watched, False)


@contextmanager
def in_use(vim: Listed) -> Iterator[None]:
    """As Tacker notes it in its database that a VNF runs there."""
    columns = "id, tenant_id, name, status, vim_id, vnfd_id, created_at, deleted_at"
    vim.execute(
        "SET foreign_key_checks = 0",
        f"INSERT INTO vnf ({columns}) VALUES ('vnf', 't', 'n', 'ACTIVE', :id, 'vnfd', now(), '0001-01-01 00:00:00')",
    )
    try:
        yield
    finally:
        vim.execute("DELETE FROM vnf WHERE id = 'vnf'")


def test_what_a_user_does_in_tacker_is_followed_from_register_to_delete(toured: Toured) -> None:
    assert [step.failure for step in toured.tour.steps] == [None] * 7
    said = "\n".join(line for step in toured.tour.steps for line in step.saw)
    assert said.count("tokyo is REACHABLE: HTTP 200") == 3
    assert said.count("tokyo is UNREACHABLE: connection refused") == 1
    assert said.count("its lease in Redis is a tombstone") == 2


def test_neither_a_password_nor_a_token_stands_in_what_vimmon_wrote(toured: Toured) -> None:
    ground, (vim, *_) = toured.ground, toured.tour.steps[2].saw
    written = ground.written()
    with Redis.from_url(ground.stack.redis.url) as redis:
        written |= {f"redis {key!r}": str(redis.dump(key)).encode() for key in redis.scan_iter()}
    (vim_id,) = re.findall(r"knows it as ([0-9a-f-]{36})", vim)
    assert [where for where, content in written.items() if vim_id.encode() in content]
    for where, content in written.items():
        for secret in (ground.vim_user["OS_PASSWORD"], ground.keystone.admin_password):
            assert secret.encode() not in content, where
        assert TOKEN.search(content) is None, where


def test_a_user_who_is_shown_his_own_project_only_is_refused_and_nothing_is_deregistered(listed: Listed) -> None:
    user = listed.ground.keystone.add_user("visitor", "of-the-visitor")
    ended = listed.ground.sync_once("--believe-loss", env=user)
    assert (ended.returncode, "not the role admin, only member, reader" in ended.stderr) == (1, True), ended
    assert listed.ground.stack.registry().get(listed.id).name == "osaka"
    ended = listed.ground.sync_once("--dry-run", env={**user, "VIMMON_TACKER_ADMIN_ROLE": "member"})
    assert f"de-register  osaka  {listed.id}" in ended.stdout, ended


def test_a_status_is_given_back_once_and_touches_neither_the_vim_nor_its_credentials(listed: Listed) -> None:
    secrets, logins = listed.secrets(), listed.logins()
    assert listed.given() == 1
    vim = listed.ground.stack.registry().get(listed.id)
    since = vim.status_since.isoformat(timespec="seconds").replace("+00:00", "Z")
    told = {"vimmon": {"status": "REACHABLE", "since": since, "reason": vim.reason}}
    shown = json.loads(listed.ground.openstack("vim", "show", "osaka", "-f", "json"))
    assert (shown["extra"], shown["status"]) == (told, "ACTIVE")
    assert listed.given() == 0
    assert listed.api("GET").json()["vim"]["updated_at"] == shown["updated_at"]
    assert (listed.secrets(), listed.logins()) == (secrets, logins)


def test_tacker_merges_what_is_put_into_extra_and_never_takes_a_key_out(listed: Listed) -> None:
    """What docs/tacker.md says giving a status costs, so that it is noticed when a Tacker does otherwise."""
    listed.put({"vimmon": {"status": "REACHABLE", "since": "then"}, "of-the-user": 1})
    listed.put({"vimmon": {"status": "UNREACHABLE"}})
    assert listed.extra == {"vimmon": {"status": "UNREACHABLE", "since": "then"}, "of-the-user": 1}
    nothings: list[object] = [{}, None, {"vimmon": {}}]
    for nothing in nothings:
        assert listed.put(nothing).status_code == 200
        assert listed.extra["vimmon"]["status"] == "UNREACHABLE"
    listed.put({"vimmon": None})
    assert listed.extra == {"vimmon": None, "of-the-user": 1}
    with in_use(listed):
        refused = listed.put({"more": 1})
    assert (refused.status_code, refused.json()["TackerError"]["type"]) == (500, "VimInUseException")
