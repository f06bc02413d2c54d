"""`vimmon vim …`: registers, shows, changes and de-registers VIMs."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from vimmon.cli.options import AsJson, VimArgument
from vimmon.cli.output import (
    VIM_COLUMNS,
    ago,
    out,
    rfc3339,
    show_fields,
    show_json,
    show_table,
    status_text,
    vim_rows,
    warn,
)
from vimmon.cli.probe_option import HELP, for_update, parse_probe_option
from vimmon.telling import duration
from vimmon.vim import Vim, VimOrigin, VimStatus, VimType

if TYPE_CHECKING:
    from vimmon.cli.tools import Tools
    from vimmon.cli.watch.events import Event
    from vimmon.registry.registry import Change
    from vimmon.registry.values import StatusChange

app = typer.Typer(help="Register VIMs, look at them, change them.", no_args_is_help=True)

LATEST_CHANGES = 5
CHANGES_MAX = 10_000
AuthUrl = typer.Option("--auth-url", metavar="URL", help="Keystone's auth_url, or the address of a Kubernetes API.")
ProbeOption = typer.Option("--probe", metavar="PROBE", help=HELP)


@app.command()
def register(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A name that no other VIM has.")] = None,
    auth_url: Annotated[str | None, AuthUrl] = None,
    vim_type: Annotated[
        VimType | None,
        typer.Option("--type", help="What it is; decides how it is asked.  [default: openstack]", show_default=False),
    ] = None,
    probe: Annotated[str | None, ProbeOption] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="All VIMs that a YAML or JSON file names; - reads them."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="With --file: change those that are registered with other settings.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --file: check it, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register a VIM, or all that a file names, and have them watched.

    A file is a list of entries with name, auth_url, and, where wanted, type and probe, as `vimmon vim list --json`
    shows them. All are checked before the first is written. Those that are so already are left alone; one that is
    registered with other settings is refused, or changed with --update. What an entry does not say stays as it is.
    """
    if file is not None:
        if (name, auth_url, vim_type, probe) != (None, None, None, None):
            raise typer.BadParameter("with --file, the file says all the rest")
        from vimmon.cli.manifest.run import register_file

        register_file(file, may_update=update, dry_run=dry_run, as_json=as_json)
        return
    if name is None or auth_url is None:
        raise typer.BadParameter("give NAME and --auth-url, or --file")
    if update or dry_run:
        raise typer.BadParameter("--update and --dry-run are for --file")
    given = parse_probe_option(probe)
    tools = _tools()
    change = tools.registry.register(name, auth_url, type=vim_type or VimType.OPENSTACK, probe=given)
    _tell(tools, change, f"registered VIM {change.vim.name} ({change.vim.id})", as_json)


@app.command("list")
def list_vims(
    status: Annotated[VimStatus | None, typer.Option("--status", help="Only those with this status.")] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help="Until q or Ctrl-C: on a terminal a table that lives, else a line for each change.",
        ),
    ] = False,
    interval_s: Annotated[
        float, typer.Option("--interval", min=0.1, max=3600, help="With --watch: seconds between two looks.")
    ] = 2,
    as_json: AsJson = False,
) -> None:
    """List the registered VIMs."""
    tools = _tools()
    if watch:
        _watch(tools, status, interval_s, as_json)
        return
    vims = tools.complete(tools.registry.list(status))
    if as_json:
        show_json(vims)
    elif vims:
        show_table(VIM_COLUMNS, vim_rows(vims))
    elif status is not None:
        out().print(f"no VIM is {status}")
    else:
        out().print("no VIM is registered; register one: vimmon vim register NAME --auth-url URL")


@app.command()
def show(
    vim: VimArgument,
    limit: Annotated[
        int, typer.Option("--limit", min=0, max=CHANGES_MAX, help="How many of its latest changes of status.")
    ] = LATEST_CHANGES,
    as_json: AsJson = False,
) -> None:
    """Show a VIM and its latest changes of status, the newest first."""
    tools = _tools()
    found = tools.registry.find(vim)
    changes = tools.registry.history(found.id, limit=limit)
    (found,) = tools.complete([found])
    if as_json:
        show_json(found.model_dump(mode="json") | {"changes": [_plain_change(change) for change in changes]})
    else:
        _show(found, changes)


@app.command()
def check(vim: VimArgument, as_json: AsJson = False) -> None:
    """Have the executor that watches a VIM probe it now, and show what it found and where the time went.

    It changes nothing: the status follows from the executor's own probes.
    """
    from vimmon.cli.found import show_found

    tools = _tools()
    found = tools.check(tools.registry.find(vim))
    if as_json:
        show_json(found)
    else:
        show_found(found)


@app.command()
def update(
    vim: VimArgument,
    name: Annotated[str | None, typer.Option("--name", help="Another name; the VIM is watched on as it is.")] = None,
    auth_url: Annotated[str | None, AuthUrl] = None,
    probe: Annotated[str | None, ProbeOption] = None,
    as_json: AsJson = False,
) -> None:
    """Change a VIM; what is not given stays as it is.

    Another auth_url or probe has it watched anew, by another action, under the next generation.
    """
    if name is None and auth_url is None and probe is None:
        raise typer.BadParameter("give at least one of --name, --auth-url, --probe")
    given = parse_probe_option(probe)
    tools = _tools()
    old = tools.registry.find(vim)
    settings = for_update(given, old.probe)
    change = tools.registry.update(old.id, name=name, auth_url=auth_url, probe=settings)
    what = "is watched anew" if change.vim.generation != old.generation else "is watched on"
    done = f"updated VIM {change.vim.name}: it {what}, generation {change.vim.generation}"
    if (change.vim.name, change.vim.generation) == (old.name, old.generation):
        done = f"VIM {change.vim.name} is so already; nothing was changed"
    _tell(tools, change, done, as_json)
    if name is not None or auth_url is not None:
        _tell_tacker(change.vim, "the next pass over its list sets name and auth_url as they are there")


@app.command()
def deregister(vim: VimArgument, as_json: AsJson = False) -> None:
    """De-register a VIM: its action leaves, its workflow is removed, its name is free again."""
    tools = _tools()
    change = tools.registry.deregister(tools.registry.find(vim).id)
    _tell(tools, change, f"de-registered VIM {change.vim.name} ({change.vim.id})", as_json)
    _tell_tacker(change.vim, "it comes back with the next pass over its list, unless it is deleted there")


def _tools() -> "Tools":
    from vimmon.cli.tools import Tools

    return Tools()


def _watch(tools: "Tools", status: VimStatus | None, interval_s: float, as_json: bool) -> None:
    from vimmon.cli.watch.loop import watch_lines, watch_screen
    from vimmon.embedded.signals import ended_by_signals

    def tell(event: "Event") -> None:
        sys.stdout.write((event.model_dump_json() if as_json else event.line()) + "\n")

    console = out()
    live = console.is_terminal and not console.is_dumb_terminal and not as_json
    try:
        with ended_by_signals():
            if live:
                watch_screen(tools, status, interval_s, colour=not console.no_color)
            else:
                watch_lines(tools, status, interval_s, tell)
    except KeyboardInterrupt:  # as it is meant to end
        pass


def _tell(tools: "Tools", change: "Change", done: str, as_json: bool) -> None:
    if as_json:
        show_json(change.vim)
    else:
        out().print(done)
    tools.tell_delayed(change)


def _tell_tacker(vim: Vim, what: str) -> None:
    if vim.origin == VimOrigin.TACKER:
        warn(f"this VIM is Tacker's: {what}")


def _plain_change(change: "StatusChange") -> dict[str, object]:
    """As a VIM's own times are written."""
    from pydantic import TypeAdapter

    from vimmon.registry.values import StatusChange

    shown: dict[str, object] = TypeAdapter(StatusChange).dump_python(change, mode="json", exclude={"vim_id"})
    return shown


def _show(vim: Vim, changes: "list[StatusChange]") -> None:
    now = datetime.now(UTC)
    fields: list[tuple[str, str | Text]] = [
        ("name", vim.name),
        ("id", vim.id),
        ("type", vim.type),
        ("auth_url", vim.auth_url),
        ("kept by", vim.origin),
        ("probe", ", ".join(f"{name}={value}" for name, value in vim.probe.items())),
        ("status", status_text(vim.status)),
        ("reason", vim.reason or "-"),
        ("since", f"{rfc3339(vim.status_since)} ({duration(vim.status_since, now)})"),
        ("last checked", f"{rfc3339(vim.last_checked)} ({ago(vim.last_checked, now)})" if vim.last_checked else "-"),
        ("generation", str(vim.generation)),
        ("action", vim.action_id or "-"),
        ("execution", vim.execution_id or "-"),
        ("executor", vim.executor or "-"),
        ("registered", rfc3339(vim.created_at)),
        ("updated", rfc3339(vim.updated_at)),
    ]
    show_fields(fields)
    if changes:
        out().print("\nlatest changes")
        rows = [(rfc3339(c.at), c.old, status_text(c.new), str(c.generation), c.reason or "-") for c in changes]
        show_table(("AT", "FROM", "TO", "#GEN", "+REASON"), rows)
