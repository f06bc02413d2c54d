"""Shows a tour: on a terminal with a table that lives, elsewhere line by line."""

import textwrap
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from vimmon.cli.output import out, status_text, vim_table
from vimmon.embedded.tour import Step
from vimmon.vim import Vim

LINE = 110  # characters, where the terminal has more
PAUSE_S = 1.5  # for the reader, after each step


class PlainNarrator:
    """One line for everything that happens; every change of a status is a line."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or out()
        self._shown: dict[str, str] = {}

    def say(self, text: str) -> None:
        self.console.print(textwrap.fill(text, min(self.console.width, LINE)))

    def begin(self, number: int, title: str) -> None:
        self.console.print(Text(f"\n{number}. {title}", style="bold"))

    def saw(self, text: str) -> None:
        indent = " " * 3
        self.console.print(
            textwrap.fill(text, min(self.console.width, LINE), initial_indent=indent, subsequent_indent=indent)
        )

    def show(self, vims: Sequence[Vim]) -> None:
        for vim in vims:
            if self._shown.get(vim.id, "PENDING") != vim.status:
                self.console.print(Text(f"   [{vim.name} ") + status_text(vim.status) + Text("]"))
            self._shown[vim.id] = vim.status

    def end(self, step: Step) -> None:
        if step.failure is None:
            self.console.print(Text("   ok", style="green") + Text(f" after {step.seconds:.1f} s"))
        else:
            self.console.print(
                Text("   FAILED", style="bold red") + Text(f" after {step.seconds:.1f} s: {step.failure}")
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LiveNarrator(PlainNarrator):
    """The same, above a table of the VIMs that is always as things are now."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._vims: Sequence[Vim] = ()
        self._spinner = Spinner("line")
        self._live = Live(console=self.console, get_renderable=self._render, refresh_per_second=5, transient=True)

    def begin(self, number: int, title: str) -> None:
        super().begin(number, title)
        self._spinner.update(text=Text(f" step {number} …"))

    def show(self, vims: Sequence[Vim]) -> None:
        self._vims = vims

    def end(self, step: Step) -> None:
        super().end(step)
        time.sleep(PAUSE_S)

    def _render(self) -> Group:
        return Group(
            Text(""),
            vim_table(self._vims, width=self.console.width) if self._vims else Text("(no VIM)", style="dim"),
            self._spinner,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


class SilentNarrator(PlainNarrator):
    """For --json, where only the end is told."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
