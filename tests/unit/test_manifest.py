"""What a file of VIMs says, what is wrong with it, and what would have to be done."""

import json
from datetime import UTC, datetime

import pytest

from vimmon.cli.manifest.file import UnreadableFile, parse
from vimmon.cli.manifest.plan import BadEntries, plan
from vimmon.probes import probe_for
from vimmon.vim import Vim, VimStatus, VimType

URL = "https://keystone.example.org:5000/v3"


def problems(text: str, *registered: Vim, may_update: bool = False) -> list[str]:
    with pytest.raises(BadEntries) as caught:
        plan(parse(text), {vim.name: vim for vim in registered}, may_update=may_update)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def steps(text: str, *registered: Vim, may_update: bool = False) -> list[tuple[str, str]]:
    found = plan(parse(text), {vim.name: vim for vim in registered}, may_update=may_update)
    return [(step.action, step.name) for step in found]


def vim(name: str, **probe: object) -> Vim:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    return Vim(
        id="1",
        name=name,
        type=VimType.OPENSTACK,
        auth_url=URL,
        probe=probe_for(VimType.OPENSTACK, URL, probe).settings(),
        status=VimStatus.REACHABLE,
        reason=None,
        status_since=now,
        action_id="a",
        generation=1,
        execution_id=None,
        created_at=now,
        updated_at=now,
    )


@pytest.mark.parametrize(
    "text",
    [
        f"vims:\n  - name: tokyo\n    auth_url: {URL}\n",
        f"- {{name: tokyo, auth_url: '{URL}'}}",
        f"name: tokyo\nauth_url: {URL}",
        json.dumps([{"name": "tokyo", "auth_url": URL}]),
        json.dumps({"vims": [{"name": "tokyo", "auth_url": URL}]}, indent="\t"),
        json.dumps({"name": "tokyo", "auth_url": URL}),
    ],
)
def test_yaml_or_json_a_list_one_entry_or_vims(text: str) -> None:
    (entry,) = parse(text)
    assert entry.said == {"name": "tokyo", "auth_url": URL}


def test_an_entry_is_placed_by_its_number_and_in_yaml_by_its_line() -> None:
    assert [entry.where for entry in parse("vims:\n\n- name: a\n\n- name: b")] == [
        "entry 1 (line 3)",
        "entry 2 (line 5)",
    ]
    assert [entry.where for entry in parse('[{"name": "a"}, {}]')] == ["entry 1", "entry 2"]


def test_words_of_yaml_stay_text_and_nothing_is_nothing() -> None:
    (entry,) = parse("name: no\nauth_url: 0x10\ntype: 2026-05-01\nprobe: ~")
    assert entry.said == {"name": "no", "auth_url": "0x10", "type": "2026-05-01", "probe": None}


def test_entries_may_share_what_is_written_once() -> None:
    first, second = parse("- &a\n  name: a\n  probe: &p {kind: tcp}\n- <<: *a\n  name: b\n  auth_url: x")
    assert second.said == {"name": "b", "probe": {"kind": "tcp"}, "auth_url": "x"}
    assert first.said["name"] == "a"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no list"),
        ("5", "no list"),
        ("vims: 5", "no list"),
        ("vims: []\nother: 1", "beside vims it has other"),
        ("- a: 1\n  a: 2", "line 1, column 3: a is given twice"),
        ('[{"a": 1, "a": 2}]', "a is given twice"),
        ("- a: [", "line 1, column 7: "),
        ('[{"a": 1]', "not JSON"),
        ("--- \na: 1\n--- \nb: 1", "line 3"),
        ("- !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("- !!int x", "line 1, column 3: could not determine a constructor"),
        ("- !!bool maybe", "could not determine a constructor"),
        ("- !!timestamp 2026-99-99", "could not determine a constructor"),
        ("- " * 3000 + "a", "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ("a: \x07", "."),
        ("a: *b", "undefined alias"),
    ],
)
def test_what_is_no_file_of_vims_is_wrong_usage(text: str, problem: str) -> None:
    with pytest.raises(UnreadableFile, match=problem) as caught:
        parse(text)
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (2, False)


def test_what_grows_when_it_is_read_is_not_read_out() -> None:
    bomb = "- &a0 [x]\n" + "".join(f"- &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(30))
    assert len(problems(bomb)) == 20 + 1


def test_all_that_is_wrong_is_told_with_entry_line_name_and_field() -> None:
    text = f"""
- name: tokyo
  auth_url: ftp://x
- auth_url: {URL}
- name: osaka
  auth_url: {URL}
  probes: tcp
- name: osaka
  auth_url: {URL}
- kyoto
- name: kobe
  auth_url: {URL}
  probe: {{kind: tcp, fal: 2}}
- name: nara
  auth_url: {URL}
  type: aws
- name: ' kii '
  auth_url: {URL}
- name: kii
  auth_url: {URL}
- name: uji
  auth_url: {URL}
  probe: "tcp,5"
- name: nagoya
"""
    assert problems(text) == [
        "entry 1 (line 2), tokyo: auth_url: it does not begin with http:// or https:// "
        "(Write it like https://keystone.example.org:5000/v3)",
        "entry 2 (line 4): name: it is missing",
        "entry 3 (line 5), osaka: probes: there is no such field (Did you mean probe?)",
        "entry 5 (line 10): entry: it has no fields (Give at least name and auth_url)",
        "entry 6 (line 11), kobe: probe.fal: there is no such setting (Did you mean fall?)",
        "entry 7 (line 14), nara: type: there is none of that name (One of openstack, kubernetes, generic)",
        "entry 9 (line 19), kii: name: entry 8 (line 17) has it too",
        "entry 10 (line 21), uji: probe: '5' is not setting=value",
        "entry 11 (line 24), nagoya: auth_url: it is missing",
    ]


def test_json_that_is_no_text_is_told() -> None:
    assert problems(json.dumps([{"name": 5, "auth_url": URL}, {"name": "a", "auth_url": URL, "probe": 5}])) == [
        "entry 1: name: it is not text (Put it between quotation marks)",
        "entry 2, a: probe: it has no settings (Write it like {kind: tcp, interval_s: 5})",
    ]


def test_a_password_in_an_address_is_not_repeated() -> None:
    (problem,) = problems("- name: a\n  auth_url: https://me:secret@h")
    assert "secret" not in problem


def test_what_was_listed_can_be_registered_elsewhere_and_is_left_alone_here() -> None:
    tokyo = vim("tokyo", kind="tcp", fall=5)
    text = json.dumps([tokyo.model_dump(mode="json")])
    assert steps(text) == [("register", "tokyo")]
    assert steps(text, tokyo) == [("leave", "tokyo")]


def test_what_an_entry_does_not_say_stays_as_it_is() -> None:
    tokyo = vim("tokyo", kind="http", fall=5, interval_s=7)
    assert steps(f"- name: tokyo\n  auth_url: {URL}", tokyo) == [("leave", "tokyo")]
    assert steps(f"- name: tokyo\n  auth_url: {URL}\n  probe: fall=5", tokyo) == [("leave", "tokyo")]


def test_another_setting_is_refused_by_its_name_unless_it_may_be_changed() -> None:
    tokyo = vim("tokyo", kind="http", fall=5)
    other = f"- name: tokyo\n  auth_url: {URL}\n  probe: {{fall: 6, interval_s: 9}}"
    assert problems(other, tokyo) == [
        "entry 1 (line 1), tokyo: probe.fall, probe.interval_s: it is registered with another"
    ]
    assert steps(other, tokyo, may_update=True) == [("update", "tokyo")]
    with pytest.raises(BadEntries) as caught:
        plan(parse(other), {"tokyo": tokyo}, may_update=False)
    assert "--update" in caught.value.remedy
    moved = f"- name: tokyo\n  auth_url: {URL}/x"
    assert problems(moved, tokyo) == ["entry 1 (line 1), tokyo: auth_url: it is registered with another"]


def test_another_type_is_always_refused() -> None:
    text = f"- name: tokyo\n  auth_url: {URL}\n  type: generic"
    assert problems(text, vim("tokyo"), may_update=True) == [
        "entry 1 (line 1), tokyo: type: it is registered as openstack (De-register it first)"
    ]
