"""How the command line speaks: tables and JSON on standard output, errors and warnings on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
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


def table(columns: Iterable[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A table without lines; a column whose name begins with # is one of numbers, and one with + may be wrapped."""
    made = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="")
    for column in columns:
        made.add_column(
            column.lstrip("#+"),
            justify="right" if column[0] == "#" else "left",
            no_wrap=column[0] != "+",
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in row))
    return made


def show_table(columns: Iterable[str], rows: Iterable[Sequence[str | Text]]) -> None:
    console = out()
    with console.capture() as captured:
        console.print(table(columns, rows), soft_wrap=False)
    lines = captured.get().splitlines()
    console.out("\n".join(line.rstrip() for line in lines), highlight=False)


def show_fields(fields: Iterable[tuple[str, str | Text]]) -> None:
    """One field a line, their values below one another."""
    shown = list(fields)
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        text = Text(printable(value)) if isinstance(value, str) else value
        out().print(Text(f"{name:<{width}}  ") + text)


def vim_table(vims: Sequence[Vim], *, now: datetime | None = None) -> Table:
    return table(VIM_COLUMNS, vim_rows(vims, now=now))


VIM_COLUMNS = ("NAME", "STATUS", "FOR", "+REASON", "#GEN", "EXECUTOR", "CHECKED")


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
