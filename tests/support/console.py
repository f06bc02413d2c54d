"""Runs what a document shows of a shell, command by command, and compares what is printed.

In its blocks marked `console`, `$ ` begins a command (a `\\` at its end continues it, and so does an open quotation
mark); the lines up to the next one are what it prints. There `…` stands for anything within a line, and a line of `…`
alone for any number of lines; blanks count as one. A command of which nothing is shown may print what it likes. Each
ends with exit code 0, or with the one that its comment says: `$ vimmon vim show kyoto   # exit code 1`.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.polling import until

BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXIT_CODE = re.compile(r"#.*\bexit code (\d+)")
READS = re.compile(r"(vimmon (vim (list|show)|lease)|redis-cli|curl)\b")  # may be asked again until they say so
END = "end-of-command"
WITHIN_S = 60


@dataclass(frozen=True)
class Command:
    """One command of a document, and what it is to print."""

    text: str
    expected: str

    @property
    def exit_code(self) -> int:
        said = EXIT_CODE.search(self.text)
        return int(said[1]) if said else 0

    @property
    def reads(self) -> bool:
        return READS.match(self.text) is not None

    def fits(self, printed: str) -> bool:
        if not self.expected:
            return True
        return re.fullmatch(_pattern(self.expected), _squeezed(printed)) is not None


def commands(document: Path, replaced: Mapping[str, str] | None = None) -> list[Command]:
    """All commands of a document's blocks, in order, with some of their words replaced."""
    text = document.read_text()
    found: list[Command] = []
    for block in BLOCK.findall(text):
        for old, new in (replaced or {}).items():
            block = block.replace(old, new)
        found += _commands(block)
    return found


def _commands(block: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        length = next(i for i in range(1, len(lines) + 1) if _is_whole(lines[:i]))
        yield Command("\n".join(lines[:length]), "\n".join(lines[length:]).strip())


def _is_whole(lines: list[str]) -> bool:
    return not lines[-1].endswith("\\") and "\n".join(lines).count("'") % 2 == 0


def _pattern(expected: str) -> str:
    pattern = ""
    for line in _squeezed(expected).splitlines():
        words = r"[^\n]*".join(map(re.escape, line.split("…")))
        pattern += r"(?:[^\n]*\n)*?" if line == "…" else words + r"\n"
    return pattern


def _squeezed(text: str) -> str:
    return "".join(" ".join(line.split()) + "\n" for line in text.strip().splitlines())


class Shell:
    """One bash that keeps its variables and background jobs from command to command, and ends them all."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            start_new_session=True,
            env=dict(env),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()

    def run(self, text: str) -> tuple[int, str]:
        """Its exit code and what it printed, on either stream."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{text}\ncode=$?; echo; echo {END} $code\n")
        self._bash.stdin.flush()
        printed = ""
        for line in self._bash.stdout:
            if line.startswith(END):
                return int(line.split()[1]), printed
            printed += line
        raise AssertionError(f"the shell ended: {printed}")

    def follow(self, command: Command) -> None:
        """Runs a command of a document. AssertionError when it does not do what is shown."""
        code, printed = 0, ""

        def as_shown() -> bool:
            nonlocal code, printed
            code, printed = self.run(command.text)
            return code == command.exit_code and command.fits(printed)

        try:
            if command.reads:
                until(as_shown, within_s=WITHIN_S)
            else:
                assert as_shown()
        except AssertionError:
            shown = f"$ {command.text}\nexit code {code}\n{printed}\nas the document has it:\n{command.expected}"
            raise AssertionError(shown) from None
