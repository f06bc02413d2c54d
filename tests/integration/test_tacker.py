"""Following Tacker: what it lists comes to be watched, and what it lists no more does not."""

import json
import time

import pytest

from tests.integration.following import Ground, enter_all, reported
from tests.support.tacker import SECRET
from vimmon.errors import TackerBusy
from vimmon.tacker.carrying import Done, carry_out
from vimmon.vim import VimOrigin, VimStatus

URL = "http://127.0.0.1:5000/v3"


def test_what_tacker_lists_is_watched_under_its_id_and_name(ground: Ground) -> None:
    tokyo = ground.tacker.add("tokyo", URL)
    osaka = ground.tacker.add("osaka", "https://10.0.0.1:6443", type="kubernetes")
    passed = ground.run()
    assert ground.names() == {tokyo: "tokyo", osaka: "osaka"}
    vim = ground.vim(osaka)
    assert (vim.type, vim.auth_url, vim.origin, vim.generation) == ("kubernetes", "https://10.0.0.1:6443", "tacker", 1)
    assert ground.redis.get(ground.bench.keys.lease(osaka)) == f"1:{vim.action_id}".encode()
    assert (passed.followed, ground.said().followed) == (2, 2)


def test_what_tacker_no_longer_lists_is_deregistered(ground: Ground) -> None:
    tokyo, osaka = ground.tacker.add("tokyo"), ground.tacker.add("osaka")
    ground.run()
    del ground.tacker.vims[tokyo]
    ground.run()
    assert ground.names() == {osaka: "osaka"}
    assert ground.redis.get(ground.bench.keys.lease(tokyo)) == b"2:-"


def test_another_auth_url_or_name_is_taken_over(ground: Ground) -> None:
    tokyo = ground.tacker.add("tokyo")
    ground.run()
    ground.tacker.vims[tokyo] |= {"auth_url": "http://127.0.0.1:5001/v3", "name": "edo"}
    ground.run()
    vim = ground.vim(tokyo)
    assert (vim.name, vim.auth_url, vim.generation) == ("edo", "http://127.0.0.1:5001/v3", 2)


def test_a_second_pass_changes_nothing(ground: Ground) -> None:
    ground.tacker.add("tokyo")
    ground.run()
    before = ground.registry.list()
    passed = ground.run()
    assert (passed.plan.register, passed.plan.update, passed.plan.deregister) == ((), (), ())
    assert ground.registry.list() == before


def test_a_vim_registered_by_hand_is_never_touched(ground: Ground) -> None:
    by_hand = ground.registry.register("tokyo", URL).vim
    ground.tacker.add("tokyo", URL)
    ground.run()
    ground.tacker.vims.clear()
    ground.run()
    assert ground.registry.list() == [by_hand]


def test_a_vim_that_was_registered_by_hand_under_an_id_of_tackers_is_left_alone_and_said_so(ground: Ground) -> None:
    tokyo = ground.tacker.add("tokyo")
    by_hand = ground.registry.register("mine", "http://127.0.0.1:5001/v3", vim_id=tokyo).vim
    passed = ground.run()
    assert ground.registry.list() == [by_hand]
    assert [one.id for one in ground.said().not_watched] == [tokyo]
    assert "by hand" in passed.plan.not_watched[0].reason
    ground.tacker.vims.clear()
    ground.run()
    assert ground.registry.list() == [by_hand]


def test_what_an_operator_deregistered_by_hand_comes_back_with_the_next_list_and_the_next_generation(
    ground: Ground,
) -> None:
    tokyo = ground.tacker.add("tokyo")
    ground.run()
    ground.registry.deregister(tokyo)
    ground.run()
    vim = ground.vim(tokyo)
    assert (vim.name, vim.generation, vim.origin) == ("tokyo", 3, "tacker")
    assert ground.redis.get(ground.bench.keys.lease(tokyo)) == f"3:{vim.action_id}".encode()


def test_settings_of_a_probe_that_an_operator_made_are_kept_and_his_name_and_auth_url_are_not(ground: Ground) -> None:
    tokyo = ground.tacker.add("tokyo", URL)
    ground.run()
    ground.registry.update(tokyo, name="mine", auth_url="http://127.0.0.1:5001/v3", probe={"kind": "tcp", "fall": 7})
    ground.run()
    vim = ground.vim(tokyo)
    assert (vim.name, vim.auth_url, vim.probe["kind"], vim.probe["fall"]) == ("tokyo", URL, "tcp", 7)
    ground.tacker.vims[tokyo]["auth_url"] = "http://127.0.0.1:5002/v3"
    ground.run()
    assert (ground.vim(tokyo).probe["fall"], ground.vim(tokyo).auth_url) == (7, "http://127.0.0.1:5002/v3")


def test_deleted_and_created_anew_under_its_name_it_has_the_new_id_and_the_name(ground: Ground) -> None:
    old = ground.tacker.add("tokyo", URL)
    ground.run()
    del ground.tacker.vims[old]
    new = ground.tacker.add("tokyo", "http://127.0.0.1:5001/v3")
    ground.run()
    assert ground.names() == {new: "tokyo"}


def test_names_that_clash_between_projects_or_with_one_by_hand_are_told_apart(ground: Ground) -> None:
    ground.registry.register("osaka", URL)
    first = ground.tacker.add("tokyo", tenant_id="aaaaaaaa1111")
    ground.run()
    second = ground.tacker.add("tokyo", tenant_id="bbbbbbbb2222")
    osaka = ground.tacker.add("osaka", tenant_id="cccccccc3333")
    ground.run()
    names = ground.names()
    assert (names[first], names[second], names[osaka]) == ("tokyo", "tokyo@bbbbbbbb", "osaka@cccccccc")
    del ground.tacker.vims[first]
    ground.run()
    assert ground.names()[second] == "tokyo"


def test_names_that_were_exchanged_in_tacker_are_exchanged_here_after_two_passes(ground: Ground) -> None:
    a, b = ground.tacker.add("a"), ground.tacker.add("b")
    ground.run()
    ground.tacker.vims[a]["name"], ground.tacker.vims[b]["name"] = "b", "a"
    ground.run()
    ground.run()
    assert ground.names() == {a: "b", b: "a"}
    assert {ground.vim(a).generation, ground.vim(b).generation} == {1}


@pytest.mark.parametrize("page", [None, 1])
def test_a_vim_of_another_type_is_watched_anew_as_that(ground: Ground, page: int | None) -> None:
    tokyo = ground.tacker.add("tokyo", "https://10.0.0.1:6443")
    ground.run()
    ground.tacker.page = page
    ground.tacker.vims[tokyo]["type"] = "kubernetes"
    for _ in range(2):
        ground.run()
    vim = ground.vim(tokyo)
    assert (vim.type, vim.generation, vim.probe["preset"], vim.name) == ("kubernetes", 3, "kubernetes", "tokyo")


def test_a_dry_run_says_what_would_be_done_and_does_nothing(ground: Ground) -> None:
    ground.tacker.add("tokyo")
    found = ground.sync().look().plan
    assert [naming.name for naming in found.register] == ["tokyo"]
    assert ground.registry.list() == []
    assert ground.redis.keys("vimmon:*") == []


@pytest.mark.parametrize("page", [None, 1])
def test_a_dry_run_writes_nothing_even_beside_a_pass(ground: Ground, page: int | None) -> None:
    ids = [ground.tacker.add(name) for name in ("a", "b", "c")]
    ground.run()
    del ground.tacker.vims[ids[1]]
    ground.tacker.add("d")
    ground.tacker.page = page
    ground.redis.set("vimmon:tacker:turn", "another", px=60_000)

    def written() -> object:
        return [ground.redis.dump(key) for key in sorted(ground.redis.keys("vimmon:*"))], ground.registry.list()

    ground.redis.config_resetstat()
    before = written()
    found = ground.sync().look().plan
    assert (len(found.deregister), len(found.register)) == (1, 1)
    assert written() == before
    asked = {name.removeprefix("cmdstat_") for name in ground.redis.info("commandstats")}
    assert asked - {
        "config|resetstat",
        "client|setinfo",
        "client|setname",
        "hello",
        "select",
        "keys",
        "dump",
        "info",
    } == {
        "hgetall",
        "time",
    }


def test_one_at_a_time(ground: Ground) -> None:
    ground.tacker.add("tokyo")
    ground.redis.set("vimmon:tacker:turn", "another", px=300)
    with pytest.raises(TackerBusy):
        ground.run()
    assert ground.tacker.asked == []
    assert ground.run(wait_s=30).followed == 1
    assert ground.redis.get("vimmon:tacker:turn") is None


def test_a_pass_that_is_told_to_stop_leaves_the_rest_to_the_next(ground: Ground) -> None:
    for name in ("a", "b", "c"):
        ground.tacker.add(name)
    asked = iter([False, False, True])
    passed = ground.run(stopped=lambda: next(asked))
    assert (passed.done.registered, passed.followed, len(ground.names())) == (2, 2, 2)
    assert ground.run().followed == 3


@pytest.mark.parametrize("give", [True, False])
def test_no_credential_of_a_vim_is_asked_for_or_kept(
    ground: Ground, give: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    ids = [ground.tacker.add(f"vim-{number}") for number in range(3)]
    ground.tacker.page = 1
    sync = ground.sync(tacker_give_status=give)
    sync.run_once()
    ground.tacker.hidden = {ids[0]}
    assert sync.run_once().followed == 3
    del ground.tacker.vims[ids[0]]
    assert sync.run_once().followed == 2
    listed = [asked for asked in ground.tacker.asked if asked.path == "/v1.0/vims"]
    assert listed
    assert not any("auth_cred" in asked.query["fields"] for asked in listed)
    assert SECRET not in caplog.text
    assert SECRET not in str(ground.redis.hgetall("vimmon:tacker"))
    assert SECRET not in str([vim.model_dump() for vim in ground.registry.list()])


def test_a_status_is_given_back_once_for_each_change_and_only_where_that_is_wanted(ground: Ground) -> None:
    tokyo = ground.tacker.add("tokyo", extra={"area": "south"})
    osaka = ground.tacker.add("osaka")
    for vim in (ground.registry.register("by hand", URL).vim,):
        ground.bench.vims.record_statuses([reported(ground, vim.id)])
    ground.run()
    ground.bench.vims.record_statuses([reported(ground, tokyo)])
    ground.run()
    assert ground.tacker.vims[tokyo]["extra"] == {"area": "south"}
    sync = ground.sync(tacker_give_status=True)
    assert sync.run_once().given == 1
    since = ground.vim(tokyo).status_since.strftime("%Y-%m-%dT%H:%M:%SZ")
    said = {"status": "REACHABLE", "since": since, "reason": "HTTP 300 in 9 ms"}
    assert ground.tacker.vims[tokyo]["extra"] == {"area": "south", "vimmon": said}
    assert ground.tacker.vims[osaka]["extra"] == {}, "PENDING is not told"
    assert sync.run_once().given == 0
    ground.bench.vims.record_statuses([reported(ground, tokyo, VimStatus.UNREACHABLE, "no answer within 5 s")])
    assert sync.run_once().given == 1
    assert ground.tacker.vims[tokyo]["extra"]["vimmon"]["status"] == "UNREACHABLE"
    puts = [asked for asked in ground.tacker.asked if asked.method == "PUT"]
    assert [set(json.loads(asked.body)["vim"]) for asked in puts] == [{"extra"}, {"extra"}]


def test_five_thousand_vims_cost_less_than_two_seconds_of_cpu_a_pass(ground: Ground) -> None:
    """The server that lists them is counted too."""
    for number in range(5000):
        ground.tacker.add(f"vim-{number}", f"http://10.0.{number // 250}.{number % 250}:5000/v3")
    enter_all(ground)
    sync = ground.sync()
    began = time.process_time()
    passed = sync.run_once()
    took_s = time.process_time() - began
    assert (passed.followed, passed.done.registered, passed.done.updated) == (5000, 0, 0)
    assert took_s < 2


@pytest.mark.parametrize("tenant", ["", "../..", "a\nb", "x" * 65, None, 7])
def test_an_odd_project_is_no_part_of_a_name(ground: Ground, tenant: object) -> None:
    ground.registry.register("tokyo", URL)
    tokyo = ground.tacker.add("tokyo", tenant_id=tenant)
    ground.run()
    assert ground.names()[tokyo] == f"tokyo@{tokyo[:8]}"


def test_who_was_quicker_is_no_trouble(ground: Ground) -> None:
    gone = ground.tacker.add("gone")
    ground.run()
    del ground.tacker.vims[gone]
    new = ground.tacker.add("new")
    found = ground.sync().look().plan
    ground.registry.deregister(gone)
    ground.registry.register("new", URL, vim_id=new, origin=VimOrigin.TACKER)
    done = carry_out(found, ground.registry, before_each=lambda: True)
    assert done == Done()
    assert ground.names() == {new: "new"}


def test_a_vim_that_was_registered_by_hand_in_the_middle_of_a_pass_is_not_touched(ground: Ground) -> None:
    gone, changed, renamed = (ground.tacker.add(name) for name in ("gone", "changed", "renamed"))
    ground.run()
    del ground.tacker.vims[gone]
    ground.tacker.vims[changed]["auth_url"] = "http://127.0.0.1:5001/v3"
    ground.tacker.vims[renamed]["name"] = "other"
    found = ground.sync().look().plan
    for vim_id in (gone, changed, renamed):
        name = ground.vim(vim_id).name
        ground.registry.deregister(vim_id)
        ground.registry.register(name, URL, vim_id=vim_id)
    before = ground.registry.list()
    assert carry_out(found, ground.registry, before_each=lambda: True) == Done()
    assert ground.registry.list() == before


def test_what_tacker_lists_of_a_vim_by_hand_is_told_nothing(ground: Ground) -> None:
    tokyo = ground.tacker.add("tokyo")
    ground.registry.register("mine", URL, vim_id=tokyo)
    ground.bench.vims.record_statuses([reported(ground, tokyo)])
    assert ground.sync(tacker_give_status=True).run_once().given == 0


def test_a_turn_that_another_has_taken_over_by_now_is_left_to_it(ground: Ground) -> None:
    ground.tacker.add("tokyo")
    ground.run(stopped=lambda: not ground.redis.set("vimmon:tacker:turn", "another", px=60_000))
    assert ground.redis.get("vimmon:tacker:turn") == b"another"
