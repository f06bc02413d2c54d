"""The status page as HTML: what is wrong stands first, in words, and nothing from outside is ever markup."""

import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.vims import LONG_AGO, a_vim
from vimmon.conductor.board import Board, document, verdict
from vimmon.conductor.board_time import rfc3339, written
from vimmon.conductor.board_vims import Known, strip_figure
from vimmon.conductor.html import tag
from vimmon.conductor.reading import ConductorSeen, ExecutorSeen, Reading
from vimmon.conductor.strip import strip_of
from vimmon.conductor.tally import Totals
from vimmon.conductor.troubles import troubles
from vimmon.metrics import ExecutorMetrics
from vimmon.registry.values import Moved, Showing, Wish
from vimmon.vim import Vim, VimStatus

UP, DOWN, UNKNOWN, PENDING = VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN, VimStatus.PENDING
NOW = LONG_AGO + timedelta(days=3, hours=2)
ME = "mistral-1:42:ab12"
ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "</title></bdi></td><svg onload=alert(1)>",
    "&lt;b&gt; &amp; javascript:alert(1)",
    "\u202egnp.\u2066x",
    "\ue0001\ue001",
    "a\x00b\x1b[31mc\nd\ud800",
)


class Reader(HTMLParser):
    """Reads as a browser does: the elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, "every element was closed"

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        assert len(dict(attributes)) == len(attributes)
        if name not in ("input", "link", "meta"):
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def reading(**differs: Any) -> Reading:
    executor = ExecutorSeen(3, False, ExecutorMetrics(running=2, oldest_check_s=9.5), "mistral-1", "0.1.0", 1)
    usual = {"executors": {ME: executor}, "conductors": {"c:1:a": ConductorSeen("c", "1", "0.1.0")}}
    usual |= {"requests": 0, "dead": 0, "jobs": {}, "totals": Totals({}), "reconciled_s": 4.0}
    return Reading(**{**usual, **differs})


def board(
    *vims: Vim,
    wish: Wish = Wish(),  # noqa: B008  # a value
    seen: Reading | None = None,
    known: Known | None = None,
    counts: dict[VimStatus, int] | None = None,
    **showing: Any,
) -> Board:
    by_status = {status: sum(vim.status is status for vim in vims) for status in VimStatus} | (counts or {})
    shown = {"found": sum(by_status.values()), "page": 1, "pages": 1, "known_from": LONG_AGO, "moves": {}, **showing}
    strips = {vim.id: strip_of(vim, [], now=NOW, known_from=LONG_AGO) for vim in vims}
    return Board(
        now=NOW,
        wish=wish,
        showing=Showing(now=NOW, by_status=by_status, vims=vims, **shown),
        known=known or Known(strips),
        reading=seen or reading(),
        troubles=list(troubles(seen or reading(), vims=len(vims))),
        build="b",
    )


def page(one: Board) -> str:
    return written(document(one), NOW)


def words(text: str) -> str:
    return " ".join(" ".join(Reader(text).text).split())


def test_a_row_says_what_it_is_since_when_why_and_who_watches() -> None:
    vim = a_vim(
        status=DOWN, reason="no answer within 5 s", status_since=NOW - timedelta(minutes=65), executor=ME,
        last_checked=NOW - timedelta(seconds=12),
    )  # fmt: skip
    said = words(page(board(vim)))
    assert "✕ UNREACHABLE tokyo https://keystone.example.org:5000/v3 1h05m no answer within 5 s" in said
    assert "mistral-1-42 12s ago" in said
    assert f'datetime="{rfc3339(vim.status_since)}"' in page(board(vim))


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({UP: 300}, ("good", "All 300 VIMs are REACHABLE", "")),
        ({UP: 1}, ("good", "The only VIM is REACHABLE", "")),
        ({UP: 9999, DOWN: 1}, ("bad", "1 of 10,000 VIMs is UNREACHABLE", "")),
        ({UP: 5, DOWN: 2, UNKNOWN: 1, PENDING: 3}, ("bad", "2 of 11 VIMs are UNREACHABLE", "1 is UNKNOWN, 3 are PENDING")),  # noqa: E501
        ({UNKNOWN: 4, PENDING: 1}, ("unsure", "4 of 5 VIMs are UNKNOWN", "1 is PENDING")),
        ({PENDING: 1}, ("unsure", "1 of 1 VIM is PENDING", "")),
        ({}, ("unsure", "No VIM is registered", "Register one: vimmon vim register NAME --auth-url URL")),
    ],
)  # fmt: skip
def test_how_it_stands_is_said_in_one_line(counts: dict[VimStatus, int], said: tuple[str, str, str]) -> None:
    one = board(counts=counts)
    assert verdict(one) == said
    assert said[1] in words(page(one))
    assert f"icon-{said[0]}.svg" in page(one)


def test_what_cannot_be_relied_on_is_not_called_well() -> None:
    one = board(counts={UP: 3}, seen=reading(conductors={}))
    assert verdict(one)[:2] == ("unsure", "All 3 VIMs were REACHABLE when last heard of")
    silent = Board(NOW, Wish(), None, Known({}), None, list(troubles(None, redis="r", database="d")), "b")
    assert verdict(silent)[0] == "bad"
    assert "The database cannot be asked: d" in words(page(silent))
    assert "<table" not in page(silent)


@pytest.mark.parametrize(
    ("seen", "said", "grave"),
    [
        ({"conductors": {}}, "No conductor answers", True),
        ({"executors": {}}, "No executor lives", True),
        ({"executors": {ME: ExecutorSeen(3, True, ExecutorMetrics())}}, f"The executor {ME} reaches none of its", True),
        ({"reconciled_s": None}, "have not been compared yet", True),
        ({"reconciled_s": 121.0}, "have not been compared for 2 minutes", True),
        ({"requests": 1001}, "Calls of actions that wait: 1,001", False),
        ({"dead": 1}, "Calls of actions were put aside: 1", False),
        ({"jobs": {"failed": 2}}, "within the last hour: 2", False),
    ],
)
def test_trouble_of_vimmon_itself_is_named_with_what_to_do(seen: dict[str, Any], said: str, grave: bool) -> None:
    (trouble,) = troubles(reading(**seen), vims=3)
    assert said in trouble.text
    assert trouble.remedy
    assert trouble.grave is grave
    assert said in words(page(board(a_vim(), seen=reading(**seen))))


def test_where_all_is_well_nothing_is_complained_of() -> None:
    well = reading(reconciled_s=120.0, requests=1000, jobs={"failed": 0, "queued": 9})
    assert list(troubles(well, vims=3)) == []
    assert list(troubles(reading(executors={}), vims=0)) == [], "nobody to watch"


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_from_outside_is_ever_markup(attack: str) -> None:
    vim = a_vim(id=attack, name=attack, auth_url=attack, reason=attack, status=DOWN, executor=f"{attack}:1:a")
    hostile = ExecutorSeen(1, True, ExecutorMetrics(), attack, attack, 1)
    seen = reading(executors={attack: hostile}, conductors={attack: ConductorSeen(attack, attack, attack)})
    flapping = Known({vim.id: strip_of(vim, [], now=NOW, known_from=LONG_AGO)}, frozenset([vim.id]))
    calm = a_vim(id="i", name="n", auth_url="u", reason="r", status=DOWN, executor="e:1:a")
    calm_seen = reading(
        executors={"e": ExecutorSeen(1, True, ExecutorMetrics(), "e", "v", 1)},
        conductors={"c": ConductorSeen("c", "c", "c")},
    )
    calm_known = Known({"i": strip_of(calm, [], now=NOW, known_from=LONG_AGO)}, frozenset(["i"]))
    wish, calm_wish = Wish(text=attack), Wish(text="t")
    text = page(board(vim, wish=wish, seen=seen, known=flapping))
    found, wanted = Reader(text), Reader(page(board(calm, wish=calm_wish, seen=calm_seen, known=calm_known)))
    assert [(name, sorted(given)) for name, given in found.elements] == [
        (name, sorted(given)) for name, given in wanted.elements
    ]
    assert text.encode()
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", text)


@given(st.text(), st.text())
def test_what_was_put_into_an_element_is_what_a_browser_reads(text: str, value: str) -> None:
    found = Reader(tag("p", text, title=value))
    ((name, attributes),) = found.elements
    visible = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    assert (name, "".join(found.text)) == ("p", visible)
    assert attributes["title"] == "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)


def test_nothing_in_the_page_is_a_script_or_a_style_and_nothing_comes_from_elsewhere() -> None:
    found = Reader(page(board(a_vim(status=DOWN), counts={UP: 3}, wish=Wish(text="a b&c", status=DOWN))))
    for name, attributes in found.elements:
        assert name != "style"
        assert name != "script" or attributes == {"src": "status.js", "defer": None}
        assert not [one for one in attributes if one.startswith("on") or one == "style"]
        for reference in ("href", "src", "action"):
            assert re.fullmatch(r"[?#].*|[a-z-]*(\.[a-z]+)?", attributes.get(reference) or ""), attributes


def test_the_table_is_one_for_those_who_hear_it() -> None:
    found = Reader(page(board(a_vim(status=DOWN))))
    heads = [attributes for name, attributes in found.elements if name == "th"]
    assert all(head.get("scope") in ("col", "row") for head in heads)
    names = [name for name, _ in found.elements]
    assert names.count("caption") == names.count("table") == 3
    assert all(given.get("role") for name, given in found.elements if name in ("tr", "td") and "c0" in str(given))
    assert ("label", {"for": "filter"}) in found.elements
    assert found.elements[0] == ("html", {"lang": "en", "data-build": "b", "data-renew": "10"})


def test_a_strip_says_in_words_what_it_shows_and_no_outage_is_rounded_away() -> None:
    outage = [
        Moved((NOW - timedelta(minutes=30)).replace(tzinfo=None), UP, DOWN),
        Moved((NOW - timedelta(minutes=30) + timedelta(seconds=2)).replace(tzinfo=None), DOWN, UP),
    ]
    figure = strip_figure(strip_of(a_vim(), outage, now=NOW, known_from=LONG_AGO))
    assert "Last 24 hours: 99.9 % REACHABLE, UNREACHABLE for 2s; 2 changes" in Reader(figure).text
    assert [given["class"] for name, given in Reader(figure).elements if name == "path"] == ["good", "bad"]
    calm = strip_figure(strip_of(a_vim(), [], now=NOW, known_from=LONG_AGO))
    assert "Last 24 hours: 100 % REACHABLE; no change" in Reader(calm).text


def test_a_vim_that_flaps_or_whose_certificate_ends_is_marked() -> None:
    vim, later = a_vim(), a_vim(id="other")
    known = Known({}, frozenset([vim.id]), {vim.id: (NOW + timedelta(days=13, hours=2)).timestamp(), "other": 2e9})
    said = words(page(board(vim, later, known=known)))
    assert "tokyo flapping certificate expires in 13 d" in said
    assert said.count("flapping") == said.count("certificate") == 1
    past = Known({}, frozenset(), {vim.id: NOW.timestamp() - 1})
    assert "certificate has expired" in words(page(board(vim, known=past)))


def test_two_pages_that_differ_only_in_how_long_ago_are_the_same_before_that_is_written() -> None:
    one = document(board(a_vim(last_checked=NOW)))
    assert written(one, NOW) != written(one, NOW + timedelta(minutes=1))
    assert "3d2h" in written(one, NOW)


def test_what_was_asked_for_is_said_and_every_link_keeps_it() -> None:
    wish = Wish(status=DOWN, text="tok & yo", page=2)
    text = page(board(a_vim(status=DOWN), wish=wish, counts={DOWN: 1200}, found=1200, pages=3, page=2))
    assert "501–501 of 1,200 UNREACHABLE VIMs with “ tok & yo ”" in words(text)
    links = [given["href"] for name, given in Reader(text).elements if name == "a" and "page" in (given["href"] or "")]
    assert links == ["?status=UNREACHABLE&name=tok+%26+yo&page=3"], "the first page needs no number"
    assert "?status=UNKNOWN&name=tok+%26+yo" in text.replace("&amp;", "&")
    assert "No VIM" in words(page(board(wish=Wish(text="x"), counts={UP: 3}, found=0)))
