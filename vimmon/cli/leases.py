"""`vimmon lease …`: what Redis says of the leases, who holds them, and whether all agree."""

from typing import TYPE_CHECKING

import typer

from vimmon.cli.options import AsJson, VimArgument
from vimmon.cli.output import out, show_fields, show_json, show_table
from vimmon.errors import VimNotFound
from vimmon.telling import short_executor
from vimmon.vim import UUID

if TYPE_CHECKING:
    from vimmon.cli.tools import Tools
    from vimmon.lease.view import LeaseReport

app = typer.Typer(help="Look at the leases in Redis.", no_args_is_help=True)


@app.command("list")
def list_leases(as_json: AsJson = False) -> None:
    """List the leases of all registered VIMs."""
    from vimmon.cli.tools import Tools

    tools = Tools()
    reports = tools.leases_of(tools.registry.list())
    if as_json:
        show_json(reports)
        return
    if not reports:
        out().print("no VIM is registered, so there is no lease")
        return
    rows = [
        (
            report.name or "-",
            report.value or "-",
            _ttl(report.ttl_s),
            " ".join(short_executor(holder.executor) for holder in report.holders) or "-",
            _agreed(report),
        )
        for report in reports
    ]
    show_table(("~NAME", "~LEASE", "#TTL", "~HELD BY", "~AGREED"), rows)


@app.command()
def show(vim: VimArgument, as_json: AsJson = False) -> None:
    """Show a VIM's lease: its key, who holds it, and whether database, Redis and holder agree."""
    from vimmon.cli.tools import Tools

    tools = Tools()
    report = _find(tools, vim)
    if as_json:
        show_json(report)
        return
    show_fields(
        [
            ("VIM", f"{report.name} ({report.vim_id})" if report.name else f"{report.vim_id} (not registered)"),
            ("database wants", report.wanted or "-"),
            ("lease key", report.key),
            ("lease", report.value or "-"),
            ("lease ttl", _ttl(report.ttl_s)),
            ("status key", report.status_key),
            ("status", report.status_value or "-"),
            ("status ttl", _ttl(report.status_ttl_s)),
            ("held by", ", ".join(f"{holder.executor} ({holder.lease})" for holder in report.holders) or "-"),
            ("agreed", _agreed(report)),
        ]
    )


def _find(tools: "Tools", vim: str) -> "LeaseReport":
    """Of a registered VIM, or, by its id, of one that was de-registered lately. Raises VimNotFound."""
    try:
        found = tools.registry.find(vim)
    except VimNotFound:
        report = tools.lease_of_unregistered(vim.lower()) if UUID.fullmatch(vim) else None
        if report is None:
            raise
        return report
    return tools.leases_of([found])[0]


def _agreed(report: "LeaseReport") -> str:
    return "no: " + "; ".join(report.differences) if report.differences else "yes"


def _ttl(ttl_s: float | None) -> str:
    if ttl_s is None:
        return "-"
    return "never expires" if ttl_s < 0 else f"{ttl_s:.0f}s"
