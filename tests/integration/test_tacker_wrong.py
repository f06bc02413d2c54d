"""What Tacker answers wrongly, over real HTTP: a list that was not read to its end changes nothing, whatever it was."""

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.integration.following import Ground, reported
from tests.support.tacker import TOKEN, Answer, Asked, TackerServer, answer
from vimmon.embedded.process import free_port
from vimmon.errors import (
    RedisUnreachable,
    SchemaOutdated,
    SettingsError,
    TackerRefused,
    TackerUnreachable,
    TackerUnreadable,
)
from vimmon.tacker import client
from vimmon.tacker.client import TackerClient
from vimmon.tacker.sync import TackerSync
from vimmon.vim import VimStatus

URL = "http://127.0.0.1:5000/v3"
OS = {"OS_USERNAME": "admin", "OS_PASSWORD": "pw-of-the-admin", "OS_PROJECT_NAME": "admin"}
OS |= {"OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default", "OS_REGION_NAME": "one"}
HALF = json.dumps({"vims": [{"id": "x"}]}).encode()
NEXT = {"rel": "next", "href": "http://127.0.0.1/v1.0/vims?marker=x"}
LISTS: dict[str, tuple[Answer, type[Exception]]] = {
    "400": (Answer(400), TackerRefused),
    "401": (Answer(401), TackerRefused),
    "403": (answer({"TackerError": {"type": "PolicyNotAuthorized"}}, 403), TackerRefused),
    "404": (Answer(404, b"<html>no such page</html>"), TackerRefused),
    "408": (Answer(408), TackerUnreachable),
    "429": (Answer(429), TackerUnreachable),
    "500": (answer({"TackerError": {"type": "HTTPInternalServerError"}}, 500), TackerUnreachable),
    "503": (Answer(503), TackerUnreachable),
    "204": (Answer(204), TackerUnreadable),
    "a redirection": (Answer(302, headers={"Location": "/v1.0/vims?all=1"}), TackerUnreadable),
    "half a body": (Answer(200, HALF[:10], length=len(HALF)), TackerUnreachable),
    "half of the JSON": (Answer(200, HALF[:-1]), TackerUnreadable),
    "nothing": (Answer(200), TackerUnreadable),
    "not JSON": (Answer(200, b"<html>log in first</html>"), TackerUnreadable),
    "not UTF-8": (Answer(200, b'{"vims": [{"name": "\xff"}]}'), TackerUnreadable),
    "a body that is not gzip": (Answer(200, HALF, {"Content-Encoding": "gzip"}), TackerUnreachable),
    "no object": (answer([]), TackerUnreadable),
    "no list": (answer({"vims": {}}), TackerUnreadable),
    "no vims": (answer({"versions": []}), TackerUnreadable),
    "null": (answer({"vims": None}), TackerUnreadable),
    "a next page without a marker": (
        answer({"vims": [{"id": "x"}], "vims_links": [{**NEXT, "href": "http://127.0.0.1/v1.0/vims"}]}),
        TackerUnreadable,
    ),
    "a link that is no URL": (
        answer({"vims": [{"id": "x"}], "vims_links": [{**NEXT, "href": "http://[::1"}]}),
        TackerUnreadable,
    ),
    "pages without end": (answer({"vims": [{"id": "x"}], "vims_links": [NEXT]}), TackerUnreadable),
    "pages without end and without ids": (answer({"vims": [{}], "vims_links": [NEXT]}), TackerUnreadable),
    "silence": (Answer(200, b"", length=100, hang=True), TackerUnreachable),
    "silence in the middle": (Answer(200, HALF, length=1000, hang=True), TackerUnreachable),
}


@pytest.mark.parametrize("wrong", LISTS)
@pytest.mark.parametrize("page", [1, 2])
def test_a_list_that_could_not_be_read_to_its_end_changes_nothing(ground: Ground, wrong: str, page: int) -> None:
    given, raised = LISTS[wrong]
    tokyo = ground.tacker.add("tokyo", URL)
    ground.tacker.add("osaka", URL)
    ground.run()
    before = ground.registry.list()
    del ground.tacker.vims[tokyo]
    ground.tacker.add("kyoto")
    ground.tacker.page = 1
    ground.tacker.wrong = lambda asked: given if page == 1 or "marker" in asked.query else None
    with pytest.raises(raised) as caught:
        ground.sync(tacker_timeout_s=0.3).run_once()
    assert ground.registry.list() == before
    assert getattr(caught.value, "remedy", "")
    said = ground.said()
    assert (said.failed, said.error, said.followed) == (1, str(caught.value), 2)
    ground.tacker.wrong = lambda _: None
    assert ground.run().followed == 2
    assert (ground.said().failed, ground.said().error) == (0, None)


def test_where_nobody_listens_nothing_changes(ground: Ground) -> None:
    ground.tacker.add("tokyo")
    ground.run()
    with pytest.raises(TackerUnreachable):
        ground.sync(tacker_url=f"http://127.0.0.1:{free_port()}").run_once()
    assert len(ground.registry.list()) == 1


def test_a_body_that_trickles_or_grows_without_end_is_given_up(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    big = Answer(200, b'{"vims": [' + b" " * 300_000)
    ground.tacker.wrong = lambda _: big
    monkeypatch.setattr(client, "BODY_MAX_BYTES", 200_000)
    with pytest.raises(TackerUnreadable, match="longer than 200000"):
        ground.run()
    ticks = iter(range(0, 10_000, 7))
    monkeypatch.setattr(client, "BODY_MAX_BYTES", 10_000_000)
    sync = ground.sync()
    sync._client._clock = lambda: float(next(ticks))
    with pytest.raises(TackerUnreachable, match="longer than 10 s"):
        sync.run_once()


PAGES = [1, 2, 3, 7]


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_followed_at_tackers_own_address_whatever_the_link_says(ground: Ground, page: int) -> None:
    ids = {ground.tacker.add(f"vim-{number}") for number in range(6)}
    ground.tacker.page = page  # its links name another host
    assert ground.run().followed == 6
    assert set(ground.names()) == ids
    assert len(ground.tacker.asked) == 6 // page + 1


def between_pages(tacker: TackerServer, do: Callable[[], object]) -> Callable[[Asked], None]:
    """Does it once, when the second page is asked for."""
    todo = [do]

    def wrong(asked: Asked) -> None:
        if "marker" in asked.query and todo:
            todo.pop()()

    return wrong


def test_a_vim_that_is_deleted_between_pages_hides_no_other(ground: Ground) -> None:
    """Tacker's next page is then empty, and looks like the last."""
    ids = [ground.tacker.add(f"vim-{number}") for number in range(7)]
    ground.run()
    ground.tacker.page = 3
    ground.tacker.wrong = between_pages(ground.tacker, lambda: ground.tacker.vims.pop(ids[2]))
    passed = ground.run(believe=True)
    assert passed.plan.deregister == ()
    assert set(ground.names()) == set(ids)
    ground.run()
    assert set(ground.names()) == set(ids) - {ids[2]}


def test_a_vim_that_another_order_moves_before_the_page_is_not_lost(ground: Ground) -> None:
    ids = [ground.tacker.add(f"vim-{number}") for number in range(7)]
    ground.run()
    before = ground.registry.list()

    def reorder() -> None:
        ground.tacker.vims = {vim_id: ground.tacker.vims[vim_id] for vim_id in [ids[5], *ids[:5], ids[6]]}

    ground.tacker.page = 3
    ground.tacker.wrong = between_pages(ground.tacker, reorder)
    passed = ground.run()
    assert (passed.done.deregistered, ground.registry.list()) == (0, before)
    assert f"/v1.0/vims/{ids[5]}" in [asked.path for asked in ground.tacker.asked]


def test_a_vim_that_comes_twice_is_watched_once(ground: Ground) -> None:
    ids = [ground.tacker.add(f"vim-{number}") for number in range(6)]

    def reorder() -> None:
        ground.tacker.vims = {vim_id: ground.tacker.vims[vim_id] for vim_id in [*ids[1:4], ids[0], *ids[4:]]}

    ground.tacker.page = 3
    ground.tacker.wrong = between_pages(ground.tacker, reorder)
    assert (ground.run().followed, set(ground.names())) == (6, set(ids))


SINGLE: dict[str, Answer] = {
    "500 of another kind": answer({"TackerError": {"type": "HTTPInternalServerError"}}, 500),
    "404 of a proxy": Answer(404, b"<html>no such page</html>"),
    "401": Answer(401),
    "no JSON": Answer(500, b"oops"),
    "silence": Answer(500, b"", length=100, hang=True),
}


@pytest.mark.parametrize("wrong", SINGLE)
def test_that_a_missing_vim_is_gone_is_believed_from_tackers_own_word_only(ground: Ground, wrong: str) -> None:
    ids = [ground.tacker.add(f"vim-{number}") for number in range(7)]
    ground.run()
    before = ground.registry.list()
    ground.tacker.page = 3
    del ground.tacker.vims[ids[0]]
    ground.tacker.add("new")
    ground.tacker.wrong = lambda asked: SINGLE[wrong] if asked.path.endswith(ids[0]) else None
    with pytest.raises((TackerRefused, TackerUnreachable)):
        ground.sync(tacker_timeout_s=0.3).run_once()
    assert ground.registry.list() == before


ENTRIES: dict[str, tuple[object, str]] = {
    "another type": ({"type": "vmware"}, "type: 'vmware' is not watched, only openstack and kubernetes"),
    "no type": ({"type": None}, "type: it is missing"),
    "a bad URL": ({"auth_url": "keystone:5000"}, "auth_url: it does not begin with http:// or https://"),
    "a path alone": ({"auth_url": "/identity/v3"}, "auth_url: it does not begin with http:// or https://"),
    "a password in the URL": ({"auth_url": "http://nfv:hush@h/v3"}, "auth_url: it contains a user name or password"),
    "IPv6 without brackets": ({"auth_url": "http://2001:db8::1:5000/v3"}, "auth_url: it has an IPv6 address without"),
    "no URL": ({"auth_url": None}, "auth_url: it is missing"),
    "a number for a URL": ({"auth_url": 5000}, "auth_url: it is no text"),
    "a long name": ({"name": "n" * 256}, "name: it has 256 characters"),
    "an empty name": ({"name": " "}, "name: it is empty"),
    "a line break in the name": ({"name": "a\nb"}, "name: it has a control character"),
    "an id for a name": ({"name": "7f9c2ba4-e88f-4cde-9f0f-1e2d3c4b5a69"}, "name: it looks like a VIM's id"),
    "no id": ({"id": None}, "id: it is missing"),
    "an odd id": ({"id": "../../v2"}, "id: it is not a UUID"),
    "a list for an id": ({"id": ["x"]}, "id: it is no text"),
    "no object": ("text", "its entry is no JSON object"),
}


@pytest.mark.parametrize("odd", ENTRIES)
def test_a_vim_that_cannot_be_watched_is_named_with_the_reason_and_harms_no_other(
    ground: Ground, odd: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    changed, reason = ENTRIES[odd]
    ground.tacker.add("tokyo")
    listed = {"id": "0b9c2ba4-e88f-4cde-9f0f-1e2d3c4b5a69", "name": "odd", "type": "openstack", "auth_url": URL}
    entry: Any = listed | changed if isinstance(changed, dict) else changed
    others = list(ground.tacker.vims.values())
    ground.tacker.wrong = lambda _: answer({"vims": [entry, *others]})
    passed = ground.run()
    (skipped,) = passed.plan.not_watched
    assert skipped.reason.startswith(reason)
    assert list(ground.names().values()) == ["tokyo"]
    (said,) = ground.said().not_watched
    assert (said.id, said.reason) == (skipped.vim_id, skipped.reason)
    assert "hush" not in caplog.text + str(ground.redis.hgetall("vimmon:tacker")) + str(passed)


def test_a_vim_that_can_no_longer_be_understood_stays_watched_as_it_was(ground: Ground) -> None:
    tokyo = ground.tacker.add("tokyo", URL)
    ground.run()
    before = ground.vim(tokyo)
    ground.tacker.vims[tokyo] |= {"auth_url": "oops"}
    passed = ground.run()
    assert [one.vim_id for one in passed.plan.not_watched] == [tokyo]
    assert ground.vim(tokyo) == before


@pytest.mark.parametrize(
    "auth_url",
    [
        "http://[2001:db8::1]:5000/v3",
        "http://[2001:db8::1]/identity/v3",
        "http://10.0.0.1/identity/v3",
        "https://k:6443",
    ],
)
def test_addresses_of_every_kind_are_watched_as_they_stand_there(ground: Ground, auth_url: str) -> None:
    tokyo = ground.tacker.add("tokyo", auth_url)
    for _ in range(2):
        ground.run()
    assert (ground.vim(tokyo).auth_url, ground.vim(tokyo).generation) == (auth_url, 1)


def test_what_is_odd_about_one_vim_is_no_reason_not_to_change_the_others(ground: Ground) -> None:
    tokyo, osaka = ground.tacker.add("tokyo", "https://10.0.0.1/v3"), ground.tacker.add("osaka")
    ground.run()
    ground.registry.update(tokyo, probe={"kind": "http", "verify": False, "preset": "keystone"})
    with ground.bench.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE vims SET probe = '{\"kind\": \"of another version\"}' WHERE name = 'tokyo'")
    for vim_id in (tokyo, osaka):
        ground.tacker.vims[vim_id]["auth_url"] = "http://10.0.0.2/v3"
    passed = ground.run()
    assert [one.vim_id for one in passed.done.failed] == [tokyo]
    assert ground.vim(osaka).auth_url == "http://10.0.0.2/v3"
    assert tokyo in [one.id for one in ground.said().not_watched]


def test_a_database_that_goes_away_in_the_middle_ends_the_pass_and_is_said(ground: Ground) -> None:
    for name in ("a", "b", "c"):
        ground.tacker.add(name)

    asked = count()

    def stopped() -> bool:
        if next(asked) == 1:  # one is registered
            with ground.bench.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE vims RENAME TO elsewhere")
        return False

    with pytest.raises(SchemaOutdated) as caught:
        ground.run(stopped=stopped)
    assert (ground.said().failed, ground.said().error) == (1, str(caught.value))


def test_with_a_login_the_token_is_shown_to_tacker_alone_and_is_renewed_when_it_is_refused(ground: Ground) -> None:
    ground.tacker.add("tokyo")
    refused = [True]

    def wrong(asked: Asked) -> Answer | None:
        if asked.path == "/v1.0/vims" and asked.headers.get("X-Auth-Token") == TOKEN and refused:
            refused.pop()
            return Answer(401)
        return None

    ground.tacker.wrong = wrong
    sync = ground.sync(OS | {"OS_AUTH_URL": f"{ground.tacker.url}/v3"}, tacker_url=None)
    assert sync.run_once().followed == 1
    paths = [asked.path for asked in ground.tacker.asked if asked.method == "POST" or "vims" in asked.path]
    assert paths == ["/v3/auth/tokens", "/v1.0/vims", "/v3/auth/tokens", "/v1.0/vims"]


def test_a_login_that_is_shown_one_project_only_changes_nothing(ground: Ground) -> None:
    """Three of five VIMs are listed: too few are missing for the list to be doubted."""
    ids = [ground.tacker.add(f"vim-{number}") for number in range(5)]
    ground.run()
    before = ground.registry.list()
    ground.tacker.hidden = set(ids[:2])
    ground.tacker.roles = ["member", "reader"]
    login = OS | {"OS_AUTH_URL": f"{ground.tacker.url}/v3"}
    with pytest.raises(TackerRefused, match="not the role admin, only member, reader") as caught:
        ground.sync(login, tacker_url=None).look()
    assert "VIMMON_TACKER_ADMIN_ROLE" in caught.value.remedy
    with pytest.raises(TackerRefused, match="not the role admin"):
        ground.sync(login, tacker_url=None).run_once(believe=True)
    assert ground.registry.list() == before
    assert (ground.said().failed, ground.said().error) == (1, str(caught.value))
    ground.tacker.hidden = set()
    assert ground.sync(login, tacker_url=None, tacker_admin_role="MEMBER").run_once().followed == 5


@pytest.mark.parametrize("page", [None, 2])
def test_nor_does_one_that_loses_its_role_in_the_middle_of_a_pass(ground: Ground, page: int | None) -> None:
    """Its token is refused then, and the new one that keystoneauth asks for sees less."""
    ids = [ground.tacker.add(f"vim-{number}") for number in range(5)]
    ground.run()
    before = ground.registry.list()
    ground.tacker.page = page

    def wrong(asked: Asked) -> Answer | None:
        if not ground.tacker.hidden and asked.path == "/v1.0/vims" and (page is None or "marker" in asked.query):
            ground.tacker.roles, ground.tacker.hidden = ["member"], {ids[4]}
            return Answer(401)
        return None

    ground.tacker.wrong = wrong
    with pytest.raises(TackerRefused, match="not the role admin, only member"):
        ground.sync(OS | {"OS_AUTH_URL": f"{ground.tacker.url}/v3"}, tacker_url=None).run_once()
    assert ground.registry.list() == before


def test_nor_is_a_vim_believed_to_be_gone_because_the_login_sees_it_no_longer(ground: Ground) -> None:
    ids = [ground.tacker.add(f"vim-{number}") for number in range(5)]
    ground.run()
    before = ground.registry.list()
    ground.tacker.page = 2
    del ground.tacker.vims[ids[0]]

    def wrong(asked: Asked) -> Answer | None:
        if asked.path.endswith(ids[0]) and "member" not in ground.tacker.roles[:1]:
            ground.tacker.roles = ["member"]
            return Answer(401)
        return None

    ground.tacker.wrong = wrong
    with pytest.raises(TackerRefused, match="not the role admin, only member"):
        ground.sync(OS | {"OS_AUTH_URL": f"{ground.tacker.url}/v3"}, tacker_url=None).run_once()
    assert ground.registry.list() == before


def test_a_password_in_the_address_of_keystone_is_not_kept_where_that_is_away(ground: Ground) -> None:
    away = f"http://nfv:hush-hush@127.0.0.1:{free_port()}/v3"
    with pytest.raises(TackerUnreachable) as caught:
        ground.sync(OS | {"OS_AUTH_URL": away}, tacker_url=None).run_once()
    assert "hush-hush" not in str(caught.value) + str(ground.redis.hgetall("vimmon:tacker"))


@pytest.mark.parametrize("status", [401, 500])
def test_a_login_that_fails_changes_nothing_and_does_not_show_the_password(
    ground: Ground, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    ground.tacker.wrong = lambda asked: Answer(status) if asked.method == "POST" else None
    sync = ground.sync(OS | {"OS_AUTH_URL": f"{ground.tacker.url}/v3"}, tacker_url=None)
    with pytest.raises(TackerRefused if status == 401 else TackerUnreachable) as caught:
        sync.run_once()
    assert "pw-of-the-admin" not in caplog.text + str(caught.value)


def test_a_catalogue_without_tacker_says_so(ground: Ground) -> None:
    sync = ground.sync(OS | {"OS_AUTH_URL": f"{ground.tacker.url}/v3", "OS_REGION_NAME": "two"}, tacker_url=None)
    with pytest.raises(TackerUnreachable, match="nfv-orchestration"):
        sync.run_once()


def test_a_cloud_of_clouds_yaml_is_asked(ground: Ground, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.tacker.add("tokyo")
    auth = {"auth_url": f"{ground.tacker.url}/v3", "username": "admin", "password": "pw", "project_name": "admin"}
    auth |= {"user_domain_name": "Default", "project_domain_name": "Default"}
    file = tmp_path / "clouds.yaml"
    file.write_text(json.dumps({"clouds": {"nfv": {"auth": auth, "region_name": "one"}}}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(file))
    assert ground.sync(tacker_url=None, tacker_cloud="nfv").run_once().followed == 1
    assert ground.sync({"OS_CLOUD": "nfv"}, tacker_url=None).run_once().followed == 1
    with pytest.raises(SettingsError, match="osaka"):
        ground.client(tacker_url=None, tacker_cloud="osaka")


def test_without_any_address_it_is_said_what_to_set(ground: Ground) -> None:
    with pytest.raises(SettingsError, match="where Tacker is") as caught:
        ground.client(tacker_url=None)
    assert "VIMMON_TACKER_CLOUD" in caught.value.remedy


def test_without_redis_nothing_is_asked(ground: Ground) -> None:
    ground.tacker.add("tokyo")
    away = Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    sync = TackerSync(ground.client(), ground.registry, away, ground.bench.keys)
    for run in (sync.run_once, sync.look):
        with pytest.raises(RedisUnreachable):
            run()
    assert (ground.tacker.asked, ground.registry.list()) == ([], [])


def test_a_status_that_cannot_be_given_is_no_reason_not_to_follow(ground: Ground) -> None:
    tokyo = ground.tacker.add("tokyo")
    sync = ground.sync(tacker_give_status=True)
    sync.run_once()
    ground.bench.vims.record_statuses([reported(ground, tokyo)])
    osaka = ground.tacker.add("osaka")
    ground.tacker.wrong = lambda asked: Answer(403) if asked.method == "PUT" else None
    passed = sync.run_once()
    assert (passed.given, passed.followed, ground.said().failed) == (0, 2, 0)
    assert ground.vim(osaka).name == "osaka"


def test_a_vim_in_use_that_tacker_lets_nobody_change_keeps_no_other_from_being_told(ground: Ground) -> None:
    used, free = ground.tacker.add("busy"), ground.tacker.add("free")
    in_use = answer({"TackerError": {"type": "VimInUseException", "message": "", "detail": ""}}, 500)
    ground.tacker.wrong = lambda asked: in_use if (asked.method, used in asked.path) == ("PUT", True) else None
    sync = ground.sync(tacker_give_status=True)
    sync.run_once()
    ground.bench.vims.record_statuses([reported(ground, used), reported(ground, free)])
    assert (sync.run_once().given, sync.run_once().given) == (1, 0)
    assert ground.tacker.vims[free]["extra"]["vimmon"]["status"] == "REACHABLE"
    tries = [asked for asked in ground.tacker.asked if asked.method == "PUT" and used in asked.path]
    assert len(tries) == 1, "each is an error in Tacker's log"
    ground.bench.vims.record_statuses([reported(ground, used, VimStatus.UNREACHABLE)])
    ground.tacker.wrong = lambda _: None
    assert sync.run_once().given == 1
    assert ground.tacker.vims[used]["extra"]["vimmon"]["status"] == "UNREACHABLE"


def test_the_client_asks_for_nothing_before_it_is_used(ground: Ground) -> None:
    assert isinstance(ground.client(), TackerClient)
    assert ground.tacker.asked == []
