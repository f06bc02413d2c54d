"""Puts the groups of commands together."""

from typing import Annotated

import typer

from vimmon import __version__
from vimmon.cli import acl, database, leases, local, tacker, vims
from vimmon.cli.doctor.command import doctor
from vimmon.cli.output import out

app = typer.Typer(
    help="Knows at any minute which clouds (VIMs) can be reached.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(vims.app, name="vim")
app.add_typer(leases.app, name="lease")
app.add_typer(database.app, name="db")
app.add_typer(tacker.app, name="tacker")
app.add_typer(acl.app, name="acl")
app.command("doctor")(doctor)
app.command("up")(local.up)
app.command("demo")(local.demo)


def _show_version(wanted: bool) -> None:
    if wanted:
        out().print(f"vimmon {__version__}")
        raise typer.Exit


@app.callback()
def _vimmon(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
