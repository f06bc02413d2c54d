"""`vimmon up` and `vimmon demo`: everything on this machine, to work with or to look at."""

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vimmon.cli.options import AsJson
from vimmon.cli.output import out, show_fields, show_json
from vimmon.settings import default_data_folder

if TYPE_CHECKING:  # what these load would make every other command slow
    from vimmon.embedded.stack import Stack

CUT_SHORT = 130  # what a shell calls "ended by Ctrl-C"


def up(
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Where data, logs and ports are kept.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run everything on this machine: Redis, database, Mistral, conductor. Ctrl-C stops it."""
    from vimmon.embedded.up import run_up

    started = time.monotonic()

    def tell(text: str) -> None:
        if not as_json:
            out().print(text)

    def ready(stack: "Stack") -> None:
        if as_json:
            show_json(_places(stack))
        else:
            _explain(stack, time.monotonic() - started)

    run_up(data or default_data_folder(), tell=tell, ready=ready)


def demo(
    auth_urls: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[AUTH_URL]...",
            help="Clouds of your own to look at: Keystone's auth_url; on port 6443 a Kubernetes API.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show in about a minute what vimmon does, on real parts, and check it."""
    from vimmon.cli.narrator import LiveNarrator, PlainNarrator, SilentNarrator
    from vimmon.embedded.demo import run_demo

    narrator = SilentNarrator() if as_json else LiveNarrator() if sys.stdout.isatty() else PlainNarrator()
    started = time.monotonic()
    try:
        with narrator:
            tour = run_demo(auth_urls or [], narrator)
    except KeyboardInterrupt:
        out().print("\nended before its end; everything was stopped and removed")
        raise typer.Exit(CUT_SHORT) from None
    seconds = round(time.monotonic() - started, 1)
    if as_json:
        steps = [step.model_dump(mode="json") for step in tour.steps]
        show_json({"ok": tour.ok, "seconds": seconds, "steps": steps})
    elif tour.ok:
        out().print(f"\nEverything that was claimed was checked, in {seconds:.0f} s; all that was started is gone.")
        out().print(f"To keep one running, with a page to look at: {_program()} up")
    else:
        failed = tour.steps[-1]
        out().print(f"\nStep {failed.number} failed: {failed.title}")
    raise typer.Exit(0 if tour.ok else 1)


def _places(stack: "Stack") -> dict[str, object]:
    return {
        "page": stack.page_url,
        "redis": stack.redis.url,
        "mistral": stack.mistral.url,
        "database": _database(stack),
        "data": str(stack.folder),
        "env_file": str(stack.env_file),
    }


def _database(stack: "Stack") -> str:
    """Its URL as it may be shown: one that was given may have a password, which stands in the env_file alone."""
    from vimmon.registry.database import open_engine

    url = open_engine(stack.settings.database_url.get_secret_value()).url
    return url.set(query={}).render_as_string(hide_password=True)  # nor what an option may say


def _explain(stack: "Stack", seconds: float) -> None:
    prefix, program = stack.settings.prefix, _program()
    out().print(f"\nvimmon runs (after {seconds:.0f} s). Ctrl-C stops it; what is registered stays.\n")
    show_fields(
        [
            ("  status page", stack.page_url or "-"),
            ("  Redis", stack.redis.url),
            ("  Mistral", f"{stack.mistral.url}  (API, engine and executor in one process)"),
            ("  database", _database(stack)),
            ("  conductor", f"pid {stack.conductors[0].pid}"),
            ("  logs", f"{stack.folder}/*/*.log"),
        ]
    )
    out().print(f"""
From another shell:
  export VIMMON_ENV_FILE={stack.env_file}
  {program} vim register tokyo --auth-url https://keystone.example.org:5000/v3
  {program} vim list
  {program} lease list

What Redis holds:""")
    from vimmon.embedded.redis import find_redis_cli

    cli = find_redis_cli()
    client = f"{cli.name if cli else 'redis-cli'} -p {stack.redis.port}"
    out().print(f"""\
  {client} --scan --pattern '{prefix}:*'
  {client} GET {prefix}:lease:<id of a VIM>
  {client} HGETALL {prefix}:executor:<id of an executor>:held""")
    if cli is None:
        out().print("  (this machine has no redis-cli; your system's package redis-tools has it)")


def _program() -> str:
    """The command to repeat in another shell."""
    if shutil.which("vimmon"):
        return "vimmon"
    beside = Path(sys.executable).parent / "vimmon"
    return str(beside) if beside.exists() else "vimmon"
