"""The reader of documents is itself tested: a document that says something else must fail."""

from pathlib import Path

import pytest

from tests.support.console import Command, Shell, commands

DOCUMENT = """
```console
$ echo one \\
    two
one two
$ false   # exit code 1
```
text
```
$ not run
```
```console
$ cat PLACE
```
"""


def test_commands_are_read_with_what_they_print(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(DOCUMENT)
    read = commands(document, {"PLACE": "file"})
    assert read == [
        Command("echo one \\\n    two", "one two"),
        Command("false   # exit code 1", ""),
        Command("cat file", ""),
    ]
    assert [command.exit_code for command in read] == [0, 1, 0]


@pytest.mark.parametrize(
    ("expected", "printed", "fits"),
    [
        ("a … c", "a  b c\n", True),
        ("a … c", "a b\nc\n", False),
        ("a\n…\nc", "a\nc\n", True),
        ("a\n…\nc", "a\nx\ny\nc\n", True),
        ("a\n…\nc", "a\nx\n", False),
        ("a", "a\nb\n", False),
        ("NAME  STATUS", "NAME STATUS   \n\n", True),
        ("1.5", "1x5\n", False),
        ("", "anything\n", True),
    ],
)
def test_what_is_printed_must_be_what_is_shown(expected: str, printed: str, fits: bool) -> None:
    assert Command("x", expected).fits(printed) is fits


def test_a_shell_keeps_its_variables_and_refuses_what_is_not_so(tmp_path: Path) -> None:
    with Shell({"PATH": "/usr/bin:/bin"}, tmp_path) as shell:
        shell.follow(Command("export A=1", ""))
        shell.follow(Command("echo $A", "1"))
        shell.follow(Command("false  # exit code 1", ""))
        with pytest.raises(AssertionError, match="exit code 3"):
            shell.follow(Command("(exit 3)", ""))
        with pytest.raises(AssertionError, match="as the document has it"):
            shell.follow(Command("echo $A", "2"))
