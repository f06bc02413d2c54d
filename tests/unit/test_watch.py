"""What is drawn of VIMs that are watched, how little of it is written, and which events are told."""

import random
import unicodedata
from collections import Counter
from datetime import UTC, datetime, timedelta

import pyte
import pytest
from rich.cells import cell_len

from vimmon.cli.watch import screen
from vimmon.cli.watch.events import events
from vimmon.cli.watch.frame import chosen, coarse, frame
from vimmon.cli.watch.screen import BLANK, Cell, Screen, Span, cells, runs
from vimmon.registry.values import StatusChange
from vimmon.vim import Vim, VimStatus, VimType

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
R, U, K, P = VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN, VimStatus.PENDING


def vim(name: str, status: VimStatus = R, *, since_s: float = 60, reason: str | None = "HTTP 300 in 31 ms") -> Vim:
    return Vim(
        id=name,
        name=name,
        type=VimType.OPENSTACK,
        auth_url="http://127.0.0.1",
        probe={},
        status=status,
        reason=reason,
        status_since=NOW - timedelta(seconds=since_s),
        action_id="a",
        generation=7,
        execution_id=None,
        executor="mistral-1:42:ab12",
        last_checked=NOW - timedelta(seconds=4),
        created_at=NOW - timedelta(hours=1),
        updated_at=NOW,
    )


def shown(vims: list[Vim], columns: int, rows: int, *, wanted: VimStatus | None = None, trouble: str = "") -> list[str]:
    counts = Counter(vim.status for vim in vims)
    listed = [vim for vim in vims if wanted in (None, vim.status)]
    lines = frame(chosen(listed, rows), counts, wanted=wanted, now=NOW, trouble=trouble, columns=columns)
    return ["".join(cell[0] for cell in cells(line, columns)).rstrip() for line in lines]


def test_a_screen_of_vims_at_80_columns() -> None:
    vims = [vim("osaka", U, since_s=45, reason="no answer within 5 s, and a long story " * 4), vim("東京-1")]
    assert shown(vims, 80, 24) == [
        "2 VIMs  1 UNREACHABLE  1 REACHABLE                                     12:00:00Z",
        "",
        "NAME    STATUS       FOR     REASON                GEN  EXECUTOR      CHECKED",
        "osaka   UNREACHABLE  40s     no answer within 5…     7  mistral-1-42  0s ago",
        "東京-1  REACHABLE    1m      HTTP 300 in 31 ms       7  mistral-1-42  0s ago",
    ]


def test_all_are_shown_by_name_where_they_fit_and_else_those_in_trouble_first() -> None:
    vims = [vim(f"vim-{number:04}", since_s=number) for number in range(2000)]
    assert [line[:8] for line in shown(vims[:5], 80, 8)[3:]] == [f"vim-{number:04}" for number in range(5)]
    vims[1700] = vim("vim-1700", K)
    vims[1800] = vim("vim-1800", P)
    vims[1900] = vim("vim-1900", U)
    lines = shown(vims, 80, 10)
    assert [line[:8] for line in lines[3:-1]] == [f"vim-{n}" for n in (1900, 1700, 1800, "0000", "0001", "0002")]
    assert (len(lines), lines[-1]) == (10, "… and 1,994 more")
    assert lines[0].startswith("2,000 VIMs  1 UNREACHABLE  1 UNKNOWN  1 PENDING  1,997 REACHABLE")


def test_one_long_name_does_not_cost_the_others_their_reason() -> None:
    vims = [vim(f"vim-{number:04}", reason="connected in 9 ms") for number in range(19)] + [vim("long-" * 20)]
    lines = shown(vims, 80, 24)
    assert lines[3].startswith("vim-0000  REACHABLE    1m      connected in 9 ms ")
    assert "long-lo…" in lines[-1]


def test_one_status_alone_is_listed_and_all_are_counted() -> None:
    vims = [vim("a", U), vim("b"), vim("c", U)]
    lines = shown(vims, 80, 24, wanted=U)
    assert lines[0].startswith("3 VIMs  2 UNREACHABLE  1 REACHABLE")
    assert [line[0] for line in lines[3:]] == ["a", "c"]
    assert shown(vims, 80, 24, wanted=K)[2:] == ["no VIM is UNKNOWN"]
    assert shown([], 80, 24)[2:] == ["no VIM is registered"]


@pytest.mark.parametrize("columns", [1, 5, 20, 40, 60, 79, 80, 120, 500])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 24])
def test_no_size_of_a_terminal_is_exceeded(columns: int, rows: int) -> None:
    vims = [vim("tokyo " * 40, U, reason="x" * 500), vim("京" * 100), vim("a\x1b[2J\u200d", K, reason=None)] * 3
    counts = Counter(vim.status for vim in vims)
    lines = frame(chosen(vims, rows), counts, wanted=None, now=NOW, trouble="t" * 300, columns=columns)
    assert len(lines) <= max(rows, 4)  # `draw` takes no more than there are rows
    for line in lines:
        assert cell_len("".join(cell[0] for cell in cells(line, columns))) <= columns
        assert "\x1b" not in "".join(span.text for span in line)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-9, "0s"), (9, "0s"), (19, "10s"), (59, "50s"), (119, "1m"), (8059, "2h14m"), (360 * 86400, "360d0h")],
)
def test_a_time_on_a_live_screen_changes_seldom(seconds: int, text: str) -> None:
    assert coarse(NOW - timedelta(seconds=seconds), NOW) == text


class Glass(Screen):
    """A screen whose terminal is an emulator."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__(-1, None)
        self.dimensions = (columns, rows)
        self.terminal = pyte.Screen(columns, rows)
        self.stream = pyte.Stream(self.terminal)
        self.stream.feed(screen.ENTER)

    def size(self) -> tuple[int, int]:
        return self.dimensions

    def _send(self, text: str) -> int:
        self.stream.feed(text)
        return len(text.encode())

    def seen(self) -> list[str]:
        return [str(line).rstrip() for line in self.terminal.display]


def test_only_what_changed_is_written() -> None:
    glass = Glass(80, 5)
    first = [[Span("tokyo  "), Span("REACHABLE", "32"), Span("  1m  HTTP 300 in 31 ms")], [Span("osaka")]]
    assert glass.draw(first) > 40
    assert glass.draw(first) == 0
    second = [[Span("tokyo  "), Span("REACHABLE", "32"), Span("  2m  HTTP 300 in 31 ms")], [Span("osaka")]]
    assert glass.draw(second) == len("\x1b[1;19H2")
    assert glass.draw([[Span("tokyo  "), Span("REACHABLE", "33"), Span("  2m  HTTP 300 in 31 ms")]]) < 50
    assert glass.seen()[:2] == ["tokyo  REACHABLE  2m  HTTP 300 in 31 ms", ""]
    assert glass.terminal.buffer[0][8].fg == "brown"
    assert glass.terminal.buffer[0][17].fg == "default"


def test_whatever_is_drawn_over_whatever_stands_there_is_what_is_seen() -> None:
    chance = random.Random(7)
    glass = Glass(40, 6)
    letters = ["a", "b", " ", " ", "京", "東", "é", "e\u0301", "-"]
    for _ in range(1500):
        lines = [
            [
                Span("".join(chance.choices(letters, k=chance.randrange(25))), chance.choice(["", "1;31", "32"]))
                for _ in range(chance.randrange(4))
            ]
            for _ in range(chance.randrange(8))
        ]
        glass.draw(lines)
        wanted = ["".join(cell[0] for cell in cells(line, 40)).rstrip() for line in lines[:6]]
        wanted = [unicodedata.normalize("NFC", line) for line in wanted]  # as the emulator does
        assert glass.seen() == wanted + [""] * (6 - len(wanted))


def test_another_size_is_drawn_anew() -> None:
    glass = Glass(20, 2)
    glass.draw([[Span("x" * 30)], [Span("b")], [Span("c")]])
    assert glass.seen() == ["x" * 20, "b"]
    glass.dimensions = (10, 3)
    glass.terminal.resize(3, 10)
    glass.draw([[Span("x" * 30)], [Span("b")], [Span("c")]])
    assert glass.seen() == ["x" * 10, "b", "c"]


def test_changes_that_are_near_each_other_are_written_as_one() -> None:
    def line(text: str) -> list[Cell]:
        return cells([Span(text)], 40)

    assert list(runs(line("a" * 40), line("b" + "a" * 5 + "b" + "a" * 33))) == [(0, 7)]
    assert list(runs(line("a" * 40), line("b" + "a" * 20 + "b" + "a" * 18))) == [(0, 1), (21, 22)]
    assert list(runs(line("京ab"), line("xyab"))) == [(0, 2)]
    assert list(runs([BLANK], [BLANK])) == []


def change(name: str, old: VimStatus, new: VimStatus, *, ago_s: float) -> StatusChange:
    return StatusChange(name, NOW - timedelta(seconds=ago_s), old, new, "why", 7, 1, "a")


def told(before: list[Vim] | None, after: list[Vim], *changes: StatusChange) -> list[str]:
    def history(vim_id: str) -> list[StatusChange]:
        return [one for one in reversed(changes) if one.vim_id == vim_id]

    known = None if before is None else {vim.id: vim for vim in before}
    return [event.line().partition("  ")[2] for event in events(known, after, now=NOW, history=history)]


def test_at_first_every_vim_is_told_and_then_only_changes() -> None:
    vims = [vim("a"), vim("b", P, reason=None)]
    assert told(None, vims) == ["a  REACHABLE  HTTP 300 in 31 ms", "b  PENDING"]
    assert told(vims, vims) == []


def test_changes_between_two_looks_are_all_told_in_the_order_of_their_time() -> None:
    before = [vim("a", R, since_s=60), vim("b", R, since_s=60)]
    after = [vim("a", R, since_s=10), vim("b", U, since_s=20)]
    changes = [change("a", K, R, ago_s=60), change("a", R, U, ago_s=30), change("a", U, R, ago_s=10)]
    assert told(before, after, *changes, change("b", R, U, ago_s=20)) == [
        "a  REACHABLE -> UNREACHABLE  why",
        "b  REACHABLE -> UNREACHABLE  why",
        "a  UNREACHABLE -> REACHABLE  why",
    ]


def test_who_comes_and_who_goes_is_told() -> None:
    assert told([vim("a")], [vim("b", R, since_s=5)], change("b", P, R, ago_s=5)) == [
        "b  registered, PENDING",
        "b  PENDING -> REACHABLE  why",
        "a  deregistered",
    ]


def test_a_status_concerns_who_wants_to_see_it_coming_or_going() -> None:
    (event,) = events(
        {"a": vim("a", R, since_s=60)},
        [vim("a", U, since_s=5)],
        now=NOW,
        history=lambda _: [change("a", R, U, ago_s=5)],
    )
    assert [event.concerns(status) for status in (None, R, U, K)] == [True, True, True, False]


def test_what_a_vim_answered_cannot_steer_whoever_reads_the_lines() -> None:
    (line,) = told(None, [vim("a\x1b[2J", reason="gone\r\n")])
    assert line == "a?[2J  REACHABLE  gone??"
