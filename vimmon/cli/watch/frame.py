"""What a terminal shows of many VIMs: how many are how, and of those that fit in, first the ones in trouble."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rich.cells import cell_len, set_cell_size

from vimmon.cli.output import printable
from vimmon.cli.watch.screen import Line, Span
from vimmon.telling import short_executor
from vimmon.vim import Vim, VimStatus

SGR = {
    VimStatus.REACHABLE: "32",
    VimStatus.UNREACHABLE: "1;31",
    VimStatus.UNKNOWN: "33",
    VimStatus.PENDING: "2",
}
ORDER = (VimStatus.UNREACHABLE, VimStatus.UNKNOWN, VimStatus.PENDING, VimStatus.REACHABLE)
ABOVE = 3  # lines above the VIMs: how many, trouble, titles
TITLES = ("NAME", "STATUS", "FOR", "REASON", "GEN", "EXECUTOR", "CHECKED")
STATUS, FOR, GEN, CHECKED = 11, 6, 3, 10  # widths that nothing exceeds: what does not move need not be written again
NAME_SHARE, EXECUTOR_SHARE = 4, 5  # of the width, at most: one part in
NARROW = 24  # a reason in fewer columns tells little
GAPS = 2 * (len(TITLES) - 1)


def chosen(vims: Sequence[Vim], rows: int) -> list[Vim]:
    """The VIMs to show, given by name: all, in this order, or those in trouble first and then the latest changes."""
    room = max(rows - ABOVE, 0)
    if len(vims) <= room:
        return list(vims)
    worst_first = sorted(vims, key=lambda vim: (ORDER.index(vim.status), -vim.status_since.timestamp()))
    return worst_first[: max(room - 1, 0)]


def frame(
    shown: Sequence[Vim],
    statuses: Counter[VimStatus],
    *,
    wanted: VimStatus | None,
    now: datetime,
    trouble: str,
    columns: int,
) -> list[Line]:
    """The whole screen. `statuses` counts all VIMs, `wanted` is the only status that is listed, if any."""
    listed = statuses[wanted] if wanted else statuses.total()
    lines = [_head(statuses, now, columns), [Span(_fit(trouble, columns), "33")]]
    if not listed:
        return [*lines, [Span(f"no VIM is {wanted}" if wanted else "no VIM is registered", "2")]]
    lines += _table(shown, now, columns)
    if more := listed - len(shown):
        lines.append([Span(_fit(f"… and {more:,} more", columns), "2")])
    return lines


def coarse(since: datetime, now: datetime) -> str:
    """How long ago, so that it seldom changes: 0s, 10s … 50s, 2m, 2h14m, 3d4h."""
    seconds = max(0, int((now - since).total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d{hours}h"[:FOR]
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m" if minutes else f"{seconds // 10 * 10}s"


def _head(statuses: Counter[VimStatus], now: datetime, columns: int) -> Line:
    spans = [Span(f"{statuses.total():,} VIMs", "1")]
    for status in ORDER:
        if statuses[status]:
            spans += [Span("  "), Span(f"{statuses[status]:,} {status}", SGR[status])]
    time = now.strftime("%H:%M:%SZ")
    free = columns - sum(cell_len(span.text) for span in spans) - len(time)
    return [*spans, Span(" " * free + time, "2")] if free > 1 else spans


def _table(shown: Sequence[Vim], now: datetime, columns: int) -> list[Line]:
    names = [printable(vim.name) for vim in shown]
    executors = [printable(short_executor(vim.executor)) for vim in shown]
    name = min(max(map(cell_len, [*names, TITLES[0]])), max(columns // NAME_SHARE, 8))
    executor = min(max(map(cell_len, [*executors, TITLES[5]])), max(columns // EXECUTOR_SHARE, 8))
    reason = columns - name - STATUS - FOR - GEN - executor - CHECKED - GAPS
    if reason < NARROW and names:  # a few long names must not cost all others their reason
        most = sorted(map(cell_len, names))[len(names) * 9 // 10]
        spared = min(name - max(most, len(TITLES[0])), NARROW - reason)
        name, reason = (name - spared, reason + spared) if spared > 0 else (name, reason)
    if reason < 10:  # too narrow for all: the reason matters more
        reason, executor = columns - name - STATUS - FOR - 6, 0
    widths = (name, STATUS, FOR, max(reason, 0), GEN, executor, CHECKED)
    if not executor:
        widths = (*widths[:4], 0, 0, 0)
    lines = [_line(TITLES, widths, "", "1")]
    for vim, own_name, own_executor in zip(shown, names, executors, strict=True):
        checked = "-" if vim.last_checked is None else f"{coarse(vim.last_checked, now)} ago"
        texts = (own_name, str(vim.status), coarse(vim.status_since, now), printable(vim.reason or "-"))
        lines.append(_line((*texts, str(vim.generation), own_executor, checked), widths, SGR[vim.status], ""))
    return lines


def _line(texts: Sequence[str], widths: Sequence[int], status: str, others: str) -> Line:
    spans = []
    for place, (text, width) in enumerate(zip(texts, widths, strict=True)):
        if width:
            fitted = _fit(text, width)
            padded = fitted.rjust(width) if place == 4 else set_cell_size(fitted, width)
            spans.append(Span(padded + "  ", status if place == 1 and status else others))
    return spans


def _fit(text: str, width: int) -> str:
    """The text, cut with an ellipsis where it is wider."""
    return text if cell_len(text) <= width else set_cell_size(text, max(width - 1, 0)).rstrip() + "…"
