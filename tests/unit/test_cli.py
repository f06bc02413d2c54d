"""What the command line makes of its arguments, and how it shows things; nothing is connected."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.command import Command
from tests.support.up import VIMMON
from vimmon.asks import Found, Unfinished
from vimmon.cli.found import show_found
from vimmon.cli.output import ago, printable, table, vim_table
from vimmon.cli.probe_option import UnreadableProbe, for_update, parse_probe_option
from vimmon.lease.view import Holding, differences
from vimmon.telling import duration, short_executor
from vimmon.vim import Vim, VimStatus, VimType

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HTTP = {"kind": "http"}
MINE = Holding(executor="mistral-1:42:ab12", lease="3:mine")


@pytest.fixture
def vimmon(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIMMON_DATABASE_URL", f"sqlite:///{tmp_path}/vimmon.sqlite")


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("tcp", {"kind": "tcp"}),
        (" tcp , interval_s = 5 , fall=2 ", {"kind": "tcp", "interval_s": "5", "fall": "2"}),
        ("interval_s=0.5", {"interval_s": "0.5"}),
        ("tcp,source_address=,fall=2", {"kind": "tcp", "source_address": None, "fall": "2"}),
        (
            "http,expect_status=200, 300-399,expect_text=a=b",
            HTTP | {"expect_status": "200,300-399", "expect_text": "a=b"},
        ),
        ("http,expect_text=true,expect_status=200", HTTP | {"expect_text": "true", "expect_status": "200"}),
        ('{"kind": "tcp", "interval_s": 5}', {"kind": "tcp", "interval_s": 5}),
        ("tcp,interval_s=nan", {"kind": "tcp", "interval_s": "nan"}),
        (None, None),
    ],
)
def test_a_probe_is_a_kind_a_list_of_settings_or_json(text: str | None, probe: dict[str, Any] | None) -> None:
    assert parse_probe_option(text) == probe


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "tcp,",
        "tcp,5",
        "tcp,=5",
        "tcp,expect_status=,200",
        "http,expect_status=200,",
        "tcp,a=1,a=2",
        "{",
        '{"a": 1]',
        "{1: 2}",
    ],
)
def test_an_unreadable_probe_is_wrong_usage_and_says_how_to_write_one(text: str) -> None:
    with pytest.raises(UnreadableProbe) as caught:
        parse_probe_option(text)
    assert caught.value.exit_code == 2
    assert "--probe tcp,interval_s=5" in caught.value.remedy


def test_an_update_of_a_probe_keeps_what_it_does_not_name_unless_the_kind_changes() -> None:
    old = {"kind": "tcp", "interval_s": 5.0, "fall": 3}
    assert for_update({"fall": 2}, old) == {"kind": "tcp", "interval_s": 5.0, "fall": 2}
    assert for_update({"kind": "http"}, old) == {"kind": "http"}
    assert for_update(None, old) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("vim", "register", "tokyo"),
        ("vim", "register", "tokyo", "--auth-url", "http://127.0.0.1", "--type", "banana"),
        ("vim", "list", "--status", "FINE"),
        ("vim", "update", "tokyo"),
        ("vim", "update", "tokyo", "--probe", "tcp,5"),
        ("lease", "show"),
        ("nonsense",),
    ],
)
def test_wrong_usage_ends_with_2_and_says_so_on_standard_error(vimmon: Command, arguments: tuple[str, ...]) -> None:
    ended = vimmon(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "rror" in ended.err


def test_an_unknown_setting_is_wrong_usage(vimmon: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIMMON_REDIS_ULR", "redis://127.0.0.1:1")
    ended = vimmon("vim", "list")
    assert ended.code == 2
    assert ended.err.startswith("error: VIMMON_REDIS_ULR is not a setting; the nearest is VIMMON_REDIS_URL\n  ")


@pytest.mark.usefixtures("anywhere")
def test_a_database_without_tables_cannot_be_used_and_the_remedy_is_the_upgrade(vimmon: Command) -> None:
    ended = vimmon("vim", "list")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.endswith("\n  Bring the tables up to date: vimmon db upgrade\n")


@pytest.mark.parametrize("command", ["vim", "lease", "db", "up", "demo"])
def test_every_command_explains_itself(vimmon: Command, command: str) -> None:
    assert vimmon(command, "--help").code == 0


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (40, "40s"), (125, "2m05s"), (8040, "2h14m"), (3 * 86400 + 4 * 3600 + 59, "3d4h")],
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds: int, shown: str) -> None:
    assert duration(NOW - timedelta(seconds=seconds), NOW) == shown


def test_what_is_not_known_is_a_dash() -> None:
    assert (ago(None, NOW), short_executor(None)) == ("-", "-")
    assert short_executor("mistral-1:42:ab12") == "mistral-1-42"


def test_what_a_vim_answered_cannot_steer_the_terminal() -> None:
    assert printable("gone\x1b[2J\r\nok") == "gone?[2J??ok"


def test_the_table_of_vims_has_no_lines_and_no_markup() -> None:
    vim = Vim(
        id="1",
        name="[red]tokyo",
        type=VimType.OPENSTACK,
        auth_url="http://127.0.0.1",
        probe={},
        status=VimStatus.REACHABLE,
        reason="HTTP 300 in 31 ms",
        status_since=NOW - timedelta(seconds=8040),
        action_id="a",
        generation=7,
        execution_id=None,
        executor="mistral-1:42:ab12",
        last_checked=NOW - timedelta(seconds=4),
        created_at=NOW,
        updated_at=NOW,
    )
    console = Console(width=120)
    with console.capture() as captured:
        console.print(vim_table([vim], now=NOW, width=120))
    assert [line.split("  ")[0] for line in captured.get().splitlines()] == ["NAME", "[red]tokyo"]
    assert captured.get().split() == [
        *("NAME", "STATUS", "FOR", "REASON", "GEN", "EXECUTOR", "CHECKED"),
        *("[red]tokyo", "REACHABLE", "2h14m", *["HTTP", "300", "in", "31", "ms"], "7", "mistral-1-42", "4s", "ago"),
    ]


def test_a_narrow_table_cuts_where_the_fewest_rows_lose_anything() -> None:
    rows = [(f"vim-{number:09}", "REACHABLE", "connected in 12.5 ms") for number in range(9)]
    console = Console(width=50)
    with console.capture() as captured:
        console.print(table(("~NAME", "STATUS", "~REASON"), [*rows, ("long-" * 9, "UNKNOWN", "-")], width=50))
    lines = captured.get().splitlines()
    assert lines[1].rstrip() == "vim-000000000    REACHABLE  connected in 12.5 ms"
    assert lines[-1].rstrip() == "long-long-long…  UNKNOWN    -"


@pytest.mark.parametrize(
    ("wanted", "lease", "holders", "said"),
    [
        ("3:mine", "3:mine", [MINE], []),
        ("3:mine", None, [MINE], ["there is no lease in Redis"]),
        ("3:mine", "2:old", [MINE], ["the database wants 3:mine, the lease says 2:old"]),
        ("3:mine", "3:mine", [], ["no executor holds it"]),
        ("3:mine", "3:mine", [MINE, MINE], ["2 executors hold it"]),
        ("4:new", "4:new", [MINE], ["mistral-1:42:ab12 holds 3:mine", "no executor holds it"]),
        (None, "4:-", [], []),
        (None, "4:-", [MINE], ["mistral-1:42:ab12 holds 3:mine, and has not let go yet"]),
        (None, "3:mine", [], ["the database does not know this VIM, the lease says 3:mine"]),
    ],
)
def test_a_lease_is_agreed_on_by_database_redis_and_one_holder(
    wanted: str | None, lease: str | None, holders: list[Holding], said: list[str]
) -> None:
    assert differences(wanted, lease, holders) == said


def test_the_phase_that_a_probe_did_not_get_past_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    stuck = Found(vim_id="v", executor="e", status=VimStatus.UNREACHABLE, unfinished=Unfinished(phase="tls", ms=4990.5))
    show_found(stuck)
    assert ["TLS", "unfinished", "after", "4990.5", "ms"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_takes_no_more_is_told_in_words() -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run([str(VIMMON), "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.stderr == "error: what there is to say cannot be written: No space left on device\n"
    assert ended.returncode == 1
