"""The status page: what a conductor knows, as HTML for people. Every text from outside is escaped by `tag`. No I/O."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from vimmon.conductor.board_parts import parts_of
from vimmon.conductor.board_time import as_of
from vimmon.conductor.board_vims import MARKS, Known, legend, vim_table
from vimmon.conductor.html import Html, tag, together
from vimmon.conductor.reading import Reading
from vimmon.conductor.troubles import Trouble
from vimmon.registry.values import SHOWN_MAX, Showing, Wish
from vimmon.version import VERSION
from vimmon.vim import NAME_MAX, VimStatus

WORST_FIRST = (VimStatus.UNREACHABLE, VimStatus.UNKNOWN, VimStatus.PENDING, VimStatus.REACHABLE)
RENEW_S = 10


@dataclass(frozen=True)
class Board:
    """`now`: when it was true, by this host's clock; `showing`, `reading`: None where the database, or Redis, did not
    answer; `build`: of the files that belong to it."""

    now: datetime
    wish: Wish
    showing: Showing | None
    known: Known
    reading: Reading | None
    troubles: Sequence[Trouble]
    build: str


def document(board: Board) -> Html:
    state, headline, more = verdict(board)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", f"{headline} – vimmon"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", type="image/svg+xml", href=f"icon-{state}.svg"),
        tag("link", rel="stylesheet", href="status.css"),
        tag("script", src="status.js", defer=True),
    )
    body = tag(
        "body",
        tag("a", "Skip to the VIMs", href="#vims", class_="skip"),
        _header(),
        tag(
            "main",
            tag("div", *_troubles(board.troubles), id="troubles"),
            tag(
                "h1",
                tag("span", MARKS[STATES[state]][1], class_="sign", aria_hidden="true"),
                headline,
                class_=state,
                id="headline",
            ),
            tag("p", *_more(more, board.reading), id="more"),
            *_of_vims(board),
            *parts_of(board.reading),
            id="board",
        ),
        _footer(),
    )
    root = tag("html", head, body, lang="en", data_build=board.build, data_renew=RENEW_S)
    return Html(f"<!doctype html>{root}")


STATES = {"good": VimStatus.REACHABLE, "bad": VimStatus.UNREACHABLE, "unsure": VimStatus.UNKNOWN}


def verdict(board: Board) -> tuple[str, str, str]:
    """How it stands with all VIMs: good, bad or unsure; in one line; and what else there is to say."""
    if board.showing is None:
        return "bad", "Nobody can say which VIMs are reachable", ""
    counts, total = board.showing.by_status, sum(board.showing.by_status.values())
    if not total:
        return "unsure", "No VIM is registered", "Register one: vimmon vim register NAME --auth-url URL"
    absent = [(status, counts[status]) for status in WORST_FIRST[:-1] if counts[status]]
    if absent:
        worst, number = absent[0]
        rest = ", ".join(f"{count:,} {'is' if count == 1 else 'are'} {status}" for status, count in absent[1:])
        headline = f"{number:,} of {total:,} {_vims(total)} {'is' if number == 1 else 'are'} {worst}"
        return ("bad" if worst is VimStatus.UNREACHABLE else "unsure"), headline, f"{rest[:1].upper()}{rest[1:]}"
    if any(trouble.grave for trouble in board.troubles):
        return "unsure", f"All {total:,} {_vims(total)} were REACHABLE when last heard of", ""
    return "good", f"All {total:,} VIMs are REACHABLE" if total > 1 else "The only VIM is REACHABLE", ""


def _more(more: str, reading: Reading | None) -> Iterator[object]:
    if more:
        yield f"{more}. "
    if reading is not None:
        executors, conductors = len(reading.executors), len(reading.conductors)
        yield tag("a", f"{executors:,} executor{'' if executors == 1 else 's'}", href="#executors")
        yield " watch" + ("es, " if executors == 1 else ", ")
        yield tag("a", f"{conductors:,} conductor{'' if conductors == 1 else 's'}", href="#conductors")
        yield " answer" + ("s." if conductors == 1 else ".")


def _vims(number: int) -> str:
    return "VIM" if number == 1 else "VIMs"


def _header() -> Html:
    return tag(
        "header",
        tag("a", "vimmon", href="?", class_="brand"),
        tag("p", "as of ", as_of(), tag("span", " · reload for news", id="renewal"), class_="as-of"),
        tag("p", id="away", role="alert", hidden=True),
    )


def _troubles(troubles: Sequence[Trouble]) -> Iterator[Html]:
    for trouble in troubles:
        remedy = tag("span", trouble.remedy, class_="remedy")
        yield tag("p", tag("strong", trouble.text), " ", remedy, class_="trouble grave" if trouble.grave else "trouble")


def _of_vims(board: Board) -> Iterator[Html]:
    showing, wish = board.showing, board.wish
    if showing is None or not sum(showing.by_status.values()):
        return
    tiles = [_tile(wish, status, showing.by_status[status]) for status in WORST_FIRST]
    tiles.append(_tile(wish, None, sum(showing.by_status.values())))
    yield tag("nav", tag("ul", *tiles), aria_label="VIMs by status", class_="tiles", id="tiles")
    yield tag(
        "form",
        tag("input", type="hidden", name="status", value=wish.status) if wish.status else None,
        tag("label", "Name or id", for_="filter"),
        tag(
            "input",
            type="search",
            id="filter",
            name="name",
            value=wish.text,
            maxlength=NAME_MAX,
            autocomplete="off",
            spellcheck="false",
        ),
        tag("button", "Find"),
        tag("span", _found(showing, wish), id="found", role="status"),
        method="get",
        role="search",
        id="find",
    )
    if showing.vims:
        yield vim_table(showing.vims, board.known, showing.now)
        yield legend()
    yield _pager(showing, wish)


def _tile(wish: Wish, status: VimStatus | None, count: int) -> Html:
    kind = MARKS[status][0] if status else "all"
    label = tag("span", MARKS[status][1], aria_hidden="true") if status else None
    return tag(
        "li",
        tag(
            "a",
            tag("span", f"{count:,}", class_="count"),
            " ",
            tag("span", label, " ", status or "all", class_="label"),
            href=_link(wish, status=status),
            class_=f"{kind} none" if not count else kind,
            aria_current="true" if wish.status is status else None,
        ),
    )


def _found(showing: Showing, wish: Wish) -> Html:
    first = (showing.page - 1) * SHOWN_MAX + 1
    shown = (
        f"{first:,}–{first + len(showing.vims) - 1:,} of {showing.found:,}"
        if showing.pages > 1
        else f"{showing.found:,}"
    )
    what = f"{shown} {wish.status or ''} {_vims(showing.found)}".replace("  ", " ")
    parts: list[object] = [what if showing.found else f"No {wish.status or ''} VIM".replace("  ", " ")]
    if wish.text:
        parts += [" with “", tag("bdi", wish.text), "”"]
    if wish.text or wish.status:
        parts += [" · ", tag("a", "show all", href="?")]
    return together(*(part if isinstance(part, Html) else tag("span", part) for part in parts))


def _pager(showing: Showing, wish: Wish) -> Html:
    def to(page: int, text: str, rel: str) -> Html:
        return tag("a", text, href=_link(wish, status=wish.status, page=page), rel=rel)

    return tag(
        "nav",
        to(showing.page - 1, "← previous", "prev") if showing.page > 1 else None,
        tag("span", f" page {showing.page} of {showing.pages} ") if showing.pages > 1 else None,
        to(showing.page + 1, "next →", "next") if showing.page < showing.pages else None,
        aria_label="Pages",
        class_="pager",
        id="pager",
    )


def _link(wish: Wish, *, status: VimStatus | None, page: int = 1) -> str:
    given: Mapping[str, object] = {"status": status, "name": wish.text, "page": page if page > 1 else ""}
    return "?" + urlencode({name: str(value) for name, value in given.items() if value}, errors="replace")


def _footer() -> Html:
    links = [tag("a", path, href=path) for path in ("metrics", "livez", "readyz")]
    return tag("footer", f"vimmon {VERSION}", *(together(Html(" · "), link) for link in links))
