"""How the command line speaks: tables and JSON on standard output, errors and warnings on standard error."""

import json
import sys
import textwrap
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vimmon.errors import VimmonError
from vimmon.telling import duration, short_executor
from vimmon.vim import Vim, VimStatus

STYLES = {
    VimStatus.REACHABLE: "green",
    VimStatus.UNREACHABLE: "bold red",
    VimStatus.UNKNOWN: "yellow",
    VimStatus.PENDING: "dim",
}
GAP = "  "  # between columns
NARROWEST = 12  # what a column is cut or wrapped to, where a terminal is narrow
WIDE = 10_000  # of a pipe or file: nothing is cut or wrapped there


def out() -> Console:
    """Standard output. Made anew each time: who calls may have redirected it."""
    return _console(sys.stdout)


def err() -> Console:
    """Standard error."""
    return _console(sys.stderr)


def _console(file: Any) -> Console:
    return Console(
        file=file, width=None if file.isatty() else WIDE, markup=False, highlight=False, emoji=False, soft_wrap=True
    )


def show_error(error: VimmonError) -> None:
    """`error: …`, and the remedy below it."""
    err().print("error: " + "\n".join(printable(line) for line in str(error).splitlines()))
    if error.remedy:
        err().print(f"  {error.remedy}")


def warn(text: str) -> None:
    err().print(f"warning: {printable(text)}")


def show_json(value: BaseModel | Sequence[BaseModel | dict[str, Any]] | dict[str, Any]) -> None:
    """One JSON document. Times are RFC 3339 in UTC."""
    sys.stdout.write(json.dumps(_plain(value), indent=2) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value if isinstance(value, dict) else [_plain(item) for item in value]


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, width: int) -> Table:
    """A table without lines. How the name of a column begins says how it looks where `width` is too little for all:
    + it is wrapped, ~ it is cut, # it is one of numbers; the others are left as they are."""
    texts = [[Text(printable(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
    titles = [column.lstrip("#+~") for column in columns]
    cells = [sorted([cell_len(title), *(row[at].cell_len for row in texts)]) for at, title in enumerate(titles)]
    wide = [lengths[-1] for lengths in cells]
    for _ in range(sum(wide) + len(GAP) * len(wide) - width):
        flexible = [at for at, column in enumerate(columns) if column[0] in "+~" and wide[at] > NARROWEST]
        if not flexible:
            break
        # The one in which the fewest rows lose anything: one long name must not cost all others their reason.
        wide[min(flexible, key=lambda at: (len(cells[at]) - bisect_left(cells[at], wide[at]), -wide[at]))] -= 1
    made = Table(box=None, pad_edge=False, show_edge=False, padding=(0, len(GAP), 0, 0), header_style="")
    for column, title, columns_wide in zip(columns, titles, wide, strict=True):
        made.add_column(
            title,
            justify="right" if column[0] == "#" else "left",
            width=columns_wide,
            no_wrap=column[0] != "+",
            overflow="ellipsis" if column[0] == "~" else "fold",
        )
    for row in texts:
        made.add_row(*row)
    return made


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    console = out()
    with console.capture() as captured:
        console.print(table(columns, rows, width=console.width), soft_wrap=False)
    lines = captured.get().splitlines()
    console.out("\n".join(line.rstrip() for line in lines), highlight=False)


def show_fields(fields: Iterable[tuple[str, str | Text]]) -> None:
    """One field a line, their values below one another; no word is broken, so that it can be copied."""
    shown = list(fields)
    console, indent = out(), max(len(name) for name, _ in shown) + len(GAP)
    for name, value in shown:
        lines: list[str] | list[Text] = (
            [value] if isinstance(value, Text) else _wrapped(printable(value), width=console.width - indent)
        )
        for at, line in enumerate(lines):
            console.print(Text(f"{'' if at else name:<{indent}}") + (Text(line) if isinstance(line, str) else line))


def _wrapped(text: str, *, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, NARROWEST), break_long_words=False, break_on_hyphens=False) or [""]


def vim_table(vims: Sequence[Vim], *, width: int, now: datetime | None = None) -> Table:
    return table(VIM_COLUMNS, vim_rows(vims, now=now), width=width)


VIM_COLUMNS = ("~NAME", "STATUS", "FOR", "~REASON", "#GEN", "~EXECUTOR", "CHECKED")


def vim_rows(vims: Iterable[Vim], *, now: datetime | None = None) -> list[Sequence[str | Text]]:
    now = now or datetime.now(UTC)
    return [
        (
            vim.name,
            status_text(vim.status),
            duration(vim.status_since, now),
            vim.reason or "-",
            str(vim.generation),
            short_executor(vim.executor),
            ago(vim.last_checked, now),
        )
        for vim in vims
    ]


def status_text(status: VimStatus) -> Text:
    return Text(status, style=STYLES[status])


def ago(time: datetime | None, now: datetime) -> str:
    return "-" if time is None else f"{duration(time, now)} ago"


def rfc3339(time: datetime | None) -> str:
    """To the second, for reading."""
    return "-" if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def printable(text: str) -> str:
    """Without control characters: what a VIM answered must not steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
