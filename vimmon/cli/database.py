"""`vimmon db …`: keeps the tables of the database up to date."""

import typer

from vimmon.cli.options import AsJson
from vimmon.cli.output import out, show_json

app = typer.Typer(help="Look after the database.", no_args_is_help=True)


@app.callback()
def _db() -> None:
    pass  # so that `upgrade` stays a command of its own, though it is the only one


@app.command("upgrade")
def upgrade_database(as_json: AsJson = False) -> None:
    """Make the tables, or bring them up to date. May be repeated at any time."""
    from vimmon.registry.database import open_engine, upgrade
    from vimmon.registry.store import VimStore
    from vimmon.registry.transactions import place
    from vimmon.settings import load_settings

    engine = open_engine(load_settings().database_url.get_secret_value())
    upgrade(engine)
    installation = VimStore(engine).installation_id()
    if as_json:
        show_json({"database": place(engine.url).removeprefix("the database "), "installation": installation})
    else:
        out().print(f"{place(engine.url)} is up to date (installation {installation})")
