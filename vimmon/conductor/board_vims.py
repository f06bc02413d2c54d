"""The table of VIMs on the status page: a row for each, with its last day as a strip. No I/O."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from vimmon.conductor.board_time import ago, lasting
from vimmon.conductor.html import Html, tag, together
from vimmon.conductor.strip import RANK, STATUSES, Strip, reachable_share, runs
from vimmon.telling import duration, short_executor
from vimmon.vim import Vim, VimStatus

COLUMNS = ("Status", "VIM", "For", "Reason", "Last 24 hours", "Watched by", "Checked")
MARKS = {
    VimStatus.UNREACHABLE: ("bad", "✕"),
    VimStatus.UNKNOWN: ("unsure", "?"),
    VimStatus.PENDING: ("pending", "…"),
    VimStatus.REACHABLE: ("good", "✓"),
}
HEIGHT = 12
HEIGHTS = {VimStatus.UNREACHABLE: 12, VimStatus.UNKNOWN: 8, VimStatus.PENDING: 3, VimStatus.REACHABLE: 4}
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
EXPIRES_SOON = timedelta(days=14)


@dataclass(frozen=True)
class Known:
    """What is known of the VIMs beside their rows, by their ids. `expiries`: of certificates, in seconds since 1970."""

    strips: Mapping[str, Strip]
    flapping: frozenset[str] = frozenset()
    expiries: Mapping[str, float] = field(default_factory=dict)


def vim_table(vims: Sequence[Vim], known: Known, now: datetime) -> Html:
    heads = [tag("th", name, role="columnheader", scope="col", class_=f"c{n}") for n, name in enumerate(COLUMNS)]
    return tag(
        "table",
        tag(
            "caption",
            "The VIMs: those that are not reachable first, the latest to become so at the top",
            class_="aside",
        ),
        tag("thead", tag("tr", *heads, role="row"), role="rowgroup"),
        tag("tbody", *(_row(vim, known, now) for vim in vims), id="vims", role="rowgroup"),
        role="table",
        class_="vims",
        id="list",
    )


def status_mark(status: VimStatus) -> Html:
    kind, mark = MARKS[status]
    return tag("span", tag("span", mark, aria_hidden="true"), f" {status}", class_=f"mark {kind}")


def _row(vim: Vim, known: Known, now: datetime) -> Html:
    kind, _ = MARKS[vim.status]
    quiet = vim.status is VimStatus.REACHABLE
    strip = known.strips.get(vim.id)
    cells = (
        status_mark(vim.status),
        together(
            tag("bdi", vim.name, class_="name"),
            *_notes(vim, known, now),
            None if quiet else tag("bdi", vim.auth_url, class_="address"),
        ),
        lasting(vim.status_since),
        tag("bdi", vim.reason or "–"),
        Html("–") if strip is None else strip_figure(strip),
        tag("bdi", short_executor(vim.executor), title=vim.executor) if vim.executor else Html("–"),
        ago(vim.last_checked),
    )
    return tag(
        "tr",
        *(_cell(number, cell) for number, cell in enumerate(cells)),
        id=f"v-{vim.id}",
        role="row",
        class_=kind,
    )


def _cell(number: int, content: Html) -> Html:
    if number == 1:
        return tag("th", content, role="rowheader", scope="row", class_="c1")
    return tag("td", content, role="cell", class_=f"c{number}")


def _notes(vim: Vim, known: Known, now: datetime) -> Iterator[Html]:
    if vim.id in known.flapping:
        yield tag("span", "flapping", class_="note")
    expires = known.expiries.get(vim.id)
    if expires is None or expires >= (now + EXPIRES_SOON).timestamp():
        return
    left = timedelta(seconds=expires - now.timestamp())
    when = f"expires in {left.days} d" if left.days > 0 else "expires today" if left > timedelta() else "has expired"
    yield tag("span", f"certificate {when}", class_="note")


def strip_figure(strip: Strip) -> Html:
    """The strip, and in figures what it says."""
    share = reachable_share(strip)
    spent = ", ".join(
        f"{status} for {_about(time)}"
        for status in reversed(STATUSES)
        if status is not VimStatus.REACHABLE and (time := strip.spent[status]) >= timedelta(seconds=1)
    )
    changes = f"{strip.changes} change{'' if strip.changes == 1 else 's'}" if strip.changes else "no change"
    said = f"Last 24 hours: {_percent(share)} REACHABLE{', ' if spent else ''}{spent}; {changes}"
    picture = tag(
        "svg",
        tag("title", said),
        _picture(strip.cells),
        role="img",
        class_="strip",
        viewBox=f"0 0 {len(strip.cells)} {HEIGHT}",
        preserveAspectRatio="none",
    )
    return together(picture, tag("span", _percent(share), class_="share", aria_hidden="true"))


def _about(time: timedelta) -> str:
    """In whole minutes from one on: what lasts is not another each second."""
    whole = timedelta(minutes=time // timedelta(minutes=1)) or time
    return duration(LONG_AGO, LONG_AGO + whole).removesuffix("00s")


def _percent(share: float | None) -> str:
    """Never rounded up: 100 % means that nothing else was heard."""
    if share is None:
        return "–"
    return "100 %" if share >= 1 else f"{int(share * 1000) / 10:.1f} %"


@lru_cache(maxsize=4096)
def _picture(cells: bytes) -> Html:
    """A path for each status. Its height says the status too, for whom the colours look alike."""
    paths = dict.fromkeys(RANK.values(), "")
    for rank, first, count in runs(cells):
        height = HEIGHTS[STATUSES[rank - 1]]
        paths[rank] += f"M{first} {HEIGHT - height}h{count}v{height}h-{count}z"
    return together(*(tag("path", class_=MARKS[STATUSES[rank - 1]][0], d=path) for rank, path in paths.items() if path))


def legend() -> Html:
    """What the strips' colours and heights mean."""
    parts = []
    for status in reversed(STATUSES):
        box = tag(
            "svg",
            _picture(bytes([RANK[status]])),
            class_="key",
            viewBox=f"0 0 1 {HEIGHT}",
            preserveAspectRatio="none",
            aria_hidden="true",
        )
        parts.append(tag("span", box, f" {status}"))
    return tag("p", "Last 24 hours, the worst of each quarter of an hour: ", *parts, class_="legend")
