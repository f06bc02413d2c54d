"""`vimmon vim register -f FILE`, on a real database and Redis."""

import io
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from redis import Redis

from tests.support.command import Command
from tests.support.terminal import VIMMON, Terminal

URL = "https://keystone.example.org:5000/v3"
FILE = f"""\
vims:
  - name: tokyo
    auth_url: {URL}
  - name: osaka
    auth_url: https://k8s.example.org:6443
    type: kubernetes
  - name: kyoto
    auth_url: http://192.0.2.1:5000
    probe: tcp,interval_s=5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "vims.yaml"
    file.write_text(FILE)
    return file


def listed(vimmon: Command) -> list[dict[str, object]]:
    return list(vimmon("vim", "list", "--json").json)


def test_all_are_registered_and_running_it_again_changes_nothing(vimmon: Command, file: Path, redis: Redis) -> None:
    ended = vimmon("vim", "register", "-f", str(file))
    assert (ended.code, ended.out, ended.err) == (0, "3 registered, 0 updated, 0 unchanged\n", "")
    before = listed(vimmon)
    assert [(vim["name"], vim["type"]) for vim in before] == [
        ("kyoto", "openstack"),
        ("osaka", "kubernetes"),
        ("tokyo", "openstack"),
    ]
    assert redis.llen("rq:queue:vimmon") == 3
    again = vimmon("vim", "register", "--file", str(file))
    assert (again.code, again.out) == (0, "0 registered, 0 updated, 3 unchanged\n")
    assert listed(vimmon) == before
    assert redis.llen("rq:queue:vimmon") == 3


def test_what_was_listed_can_be_registered(vimmon: Command, file: Path, tmp_path: Path) -> None:
    vimmon("vim", "register", "-f", str(file))
    saved = tmp_path / "saved.json"
    saved.write_text(vimmon("vim", "list", "--json").out)
    assert vimmon("vim", "register", "-f", str(saved)).out == "0 registered, 0 updated, 3 unchanged\n"
    for name in ("tokyo", "osaka", "kyoto"):
        vimmon("vim", "deregister", name)
    assert vimmon("vim", "register", "-f", str(saved)).out == "3 registered, 0 updated, 0 unchanged\n"


def test_of_what_is_wrong_all_is_told_and_nothing_is_written(vimmon: Command, file: Path) -> None:
    file.write_text(FILE + "  - name: nara\n    auth_url: nowhere\n  - name: kobe\n    auth_ulr: x\n")
    ended = vimmon("vim", "register", "-f", str(file))
    assert (ended.code, ended.out, listed(vimmon)) == (1, "", [])
    assert ended.err.splitlines() == [
        "error: 2 of 5 entries cannot be registered:",
        "  entry 4 (line 10), nara: auth_url: it does not begin with http:// or https:// (Write it like " + URL + ")",
        "  entry 5 (line 12), kobe: auth_ulr: there is no such field (Did you mean auth_url?)",
        "  Nothing was written. Correct the file",
    ]


def test_one_that_is_registered_otherwise_is_refused_or_changed_if_wanted(vimmon: Command, file: Path) -> None:
    vimmon("vim", "register", "tokyo", "--auth-url", f"{URL}/old", "--probe", "fall=7")
    refused = vimmon("vim", "register", "-f", str(file))
    assert (refused.code, len(listed(vimmon))) == (1, 1)
    assert "  entry 1 (line 2), tokyo: auth_url: it is registered with another\n" in refused.err
    assert refused.err.endswith("  Nothing was written. To change those that are registered: --update\n")
    would = vimmon("vim", "register", "-f", str(file), "--update", "--dry-run")
    assert (would.code, would.out) == (0, "this would be: 2 registered, 1 updated, 0 unchanged\n")
    assert len(listed(vimmon)) == 1
    done = vimmon("vim", "register", "-f", str(file), "--update", "--json").json
    assert [(one["name"], one["result"]) for one in done] == [
        ("tokyo", "updated"),
        ("osaka", "registered"),
        ("kyoto", "registered"),
    ]
    tokyo = done[0]["vim"]
    assert (tokyo["auth_url"], tokyo["generation"], tokyo["probe"]["fall"]) == (URL, 2, 7)
    assert vimmon("vim", "show", "tokyo", "--json").json["generation"] == 2


def test_standard_input_is_read(vimmon: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps([{"name": "a", "auth_url": URL}]).encode()))
    )
    assert vimmon("vim", "register", "-f", "-").out == "1 registered, 0 updated, 0 unchanged\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"\xff\xfe", "not UTF-8, at byte 0"),
        (b"a: [", "line 1"),
        (b"- {}\n" * 4_000_000, "more than 16 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_wrong_usage(
    vimmon: Command, tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "vims.yaml"
    if content is not None:
        file.write_bytes(content)
    ended = vimmon("vim", "register", "-f", str(file))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: --file: ")
    assert said in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("-f", "x", "tokyo"),
        ("-f", "x", "--type", "generic"),
        ("tokyo", "--auth-url", URL, "--update"),
        ("tokyo", "--auth-url", URL, "--dry-run"),
        ("--auth-url", URL),
    ],
)
def test_a_file_and_a_vim_of_ones_own_do_not_go_together(vimmon: Command, arguments: tuple[str, ...]) -> None:
    assert vimmon("vim", "register", *arguments).code == 2


def test_without_redis_all_are_registered_with_one_warning(
    vimmon: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIMMON_REDIS_URL", "redis://127.0.0.1:1/0")
    ended = vimmon("vim", "register", "-f", str(file))
    assert (ended.code, ended.out) == (0, "3 registered, 0 updated, 0 unchanged\n")
    assert ended.err.startswith("warning: 3 changes are stored; their effect is delayed: Redis cannot be reached")
    assert len(ended.err.splitlines()) == 1


def test_a_bar_shows_how_far_it_is_and_breaking_off_tells_what_is_done(vimmon: Command, tmp_path: Path) -> None:
    many = tmp_path / "many.json"
    many.write_text(json.dumps([{"name": f"vim-{number}", "auth_url": URL} for number in range(5000)]))
    with Terminal(("vim", "register", "-f", str(many)), os.environ) as terminal:
        terminal.until(lambda: "/5000" in terminal.text and "━" in terminal.text)
        terminal.until(lambda: " 0/5000" not in terminal.text)
        terminal.press(b"\x03")
        assert terminal.end() != 0
        said = re.search(r"warning: (\d+) of 5000 are done; run it again for the rest", terminal.text)
        assert not terminal.cursor_is_hidden
    assert said, terminal.text
    assert int(said[1]) <= len(listed(vimmon)) <= int(said[1]) + 1  # one was perhaps just being written


def test_a_shell_completes_names_quickly_and_is_silent_about_trouble(vimmon: Command, file: Path) -> None:
    vimmon("vim", "register", "-f", str(file))

    def complete(words: str, **env: str) -> tuple[str, str]:
        asked = {"_VIMMON_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        ended = subprocess.run([VIMMON], env={**os.environ, **asked, **env}, capture_output=True, text=True, timeout=30)
        return ended.stdout.strip(), ended.stderr

    assert complete("vimmon vim show to") == ("tokyo", "")
    assert set(complete("vimmon lease show ")[0].split()) == {"tokyo", "osaka", "kyoto"}
    assert set(complete("vimmon vim re")[0].split()) == {"register"}
    for trouble in (
        {"VIMMON_DATABASE_URL": "postgresql://127.0.0.1:1/vimmon"},
        {"VIMMON_NONSENSE": "1"},
    ):
        assert complete("vimmon vim show to", **trouble) == ("", "")


def test_a_shell_is_told_how_to_complete() -> None:
    ended = subprocess.run(
        [VIMMON, "--show-completion", "bash"], env={**os.environ}, capture_output=True, text=True, timeout=30
    )
    assert "_VIMMON_COMPLETE=complete_bash" in ended.stdout, ended
