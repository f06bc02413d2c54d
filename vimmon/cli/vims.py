"""`vimmon vim …`: registers, shows, changes and de-registers VIMs."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from vimmon.cli.found import show_found
from vimmon.cli.output import (
    VIM_COLUMNS,
    ago,
    duration,
    out,
    rfc3339,
    show_fields,
    show_json,
    show_table,
    status_text,
    vim_rows,
)
from vimmon.cli.probe_option import HELP, for_update, parse_probe_option
from vimmon.cli.tools import AsJson, Tools, VimArgument
from vimmon.registry.registry import Change
from vimmon.registry.store import StatusChange
from vimmon.vim import Vim, VimStatus, VimType

app = typer.Typer(help="Register VIMs, look at them, change them.", no_args_is_help=True)

LATEST_CHANGES = 5
AuthUrl = typer.Option("--auth-url", metavar="URL", help="Keystone's auth_url, or the address of a Kubernetes API.")
ProbeOption = typer.Option("--probe", metavar="PROBE", help=HELP)


@app.command()
def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that no other VIM has.")],
    auth_url: Annotated[str, AuthUrl],
    vim_type: Annotated[VimType, typer.Option("--type", help="What it is; decides how it is asked.")] = (
        VimType.OPENSTACK
    ),
    probe: Annotated[str | None, ProbeOption] = None,
    as_json: AsJson = False,
) -> None:
    """Register a VIM, and have it watched."""
    given = parse_probe_option(probe)
    tools = Tools()
    change = tools.registry.register(name, auth_url, type=vim_type, probe=given)
    _tell(tools, change, f"registered VIM {change.vim.name} ({change.vim.id})", as_json)


@app.command("list")
def list_vims(
    status: Annotated[VimStatus | None, typer.Option("--status", help="Only those with this status.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the registered VIMs."""
    tools = Tools()
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
def show(vim: VimArgument, as_json: AsJson = False) -> None:
    """Show a VIM and its latest changes of status."""
    tools = Tools()
    found = tools.registry.get(vim)
    changes = [] if as_json else tools.registry.history(found.id, limit=LATEST_CHANGES)
    (found,) = tools.complete([found])
    if as_json:
        show_json(found)
    else:
        _show(found, changes)


@app.command()
def check(vim: VimArgument, as_json: AsJson = False) -> None:
    """Have the executor that watches a VIM probe it now, and show what it found and where the time went.

    It changes nothing: the status follows from the executor's own probes.
    """
    tools = Tools()
    found = tools.check(tools.registry.get(vim))
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
    tools = Tools()
    old = tools.registry.get(vim)
    settings = for_update(given, old.probe)
    change = tools.registry.update(old.id, name=name, auth_url=auth_url, probe=settings)
    what = "is watched anew" if change.vim.generation != old.generation else "is watched on"
    done = f"updated VIM {change.vim.name}: it {what}, generation {change.vim.generation}"
    if (change.vim.name, change.vim.generation) == (old.name, old.generation):
        done = f"VIM {change.vim.name} is so already; nothing was changed"
    _tell(tools, change, done, as_json)


@app.command()
def deregister(vim: VimArgument, as_json: AsJson = False) -> None:
    """De-register a VIM: its action leaves, its workflow is removed, its name is free again."""
    tools = Tools()
    change = tools.registry.deregister(vim)
    _tell(tools, change, f"de-registered VIM {change.vim.name} ({change.vim.id})", as_json)


def _tell(tools: Tools, change: Change, done: str, as_json: bool) -> None:
    if as_json:
        show_json(change.vim)
    else:
        out().print(done)
    tools.tell_delayed(change)


def _show(vim: Vim, changes: list[StatusChange]) -> None:
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
