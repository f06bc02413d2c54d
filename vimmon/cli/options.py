"""Arguments and options that several commands have."""

from typing import Annotated

import typer

from vimmon.cli.completion import complete_vims

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VimArgument = Annotated[
    str, typer.Argument(metavar="VIM", help="Its name or id, or the start of either.", autocompletion=complete_vims)
]
