"""`vimmon tacker …`: has vimmon watch the VIMs that a Tacker server lists."""

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vimmon.cli.options import AsJson
from vimmon.cli.output import out, show_error, show_json, show_table
from vimmon.errors import VimmonError

if TYPE_CHECKING:  # what it loads would make every other command slow
    from vimmon.tacker.sync import Passed

app = typer.Typer(help="Watch what a Tacker server lists.", no_args_is_help=True)

EVERY_S = 60.0
WAIT_S = 60.0  # for a pass that somebody else makes
CUT_SHORT = 130  # what a shell calls "ended by Ctrl-C"


@app.callback()
def _tacker() -> None:
    pass  # so that `sync` stays a command of its own, though it is the only one


@app.command()
def sync(
    once: Annotated[bool, typer.Option("--once", help="One pass, and no more.")] = False,
    every: Annotated[
        float | None,
        typer.Option("--every", metavar="SECONDS", min=1, help="How often; VIMMON_TACKER_INTERVAL_S, or 60."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what one pass would do.")] = False,
    believe_loss: Annotated[
        bool, typer.Option("--believe-loss", help="One pass that believes Tacker's list, however many VIMs it lacks.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Register what Tacker lists; change and de-register what came from there, and nothing that was registered by hand.

    A list that lacks more than half of at least four VIMs is believed when it has said so three times.
    """
    if every is not None and (once or dry_run or believe_loss):
        raise typer.BadParameter("--every goes on; --once, --dry-run and --believe-loss are one pass")
    from vimmon.lease.keys import Keys
    from vimmon.settings import load_settings
    from vimmon.tacker.follow import follow, open_sync

    settings = load_settings()
    tacker, redis = open_sync(settings)
    if once or dry_run or believe_loss:
        if dry_run:
            passed = tacker.look(believe=believe_loss)
        else:
            passed = tacker.run_once(believe=believe_loss, wait_s=WAIT_S)
        _show(passed, as_json=as_json, dry_run=dry_run)
        raise typer.Exit(1 if passed.done.failed or passed.plan.doubt else 0)
    interval_s = every or settings.tacker_interval_s or EVERY_S
    if not as_json:
        out().print(f"following Tacker every {interval_s:g} s; Ctrl-C ends it")

    def tell(what: "Passed | VimmonError") -> None:
        if isinstance(what, VimmonError):
            show_error(what)
        elif _has_news(what):
            _show(what, as_json=as_json, dry_run=False)

    try:
        follow(tacker, redis, Keys(settings.prefix), interval_s=interval_s, stop=threading.Event(), tell=tell)
    except KeyboardInterrupt:
        raise typer.Exit(CUT_SHORT) from None


def _has_news(passed: "Passed") -> bool:
    found = passed.plan
    return bool(found.register or found.update or found.deregister or found.doubt or passed.done.failed)


def _show(passed: "Passed", *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        show_json(_as_json(passed))
        return
    found = passed.plan
    rows = [
        *(("de-register", vim.name, vim.id, vim.auth_url) for vim in found.deregister),
        *(("update", one.name, one.listed.vim_id, one.listed.auth_url) for one in found.update),
        *(("register", one.name, one.listed.vim_id, one.listed.auth_url) for one in found.register),
        *(("not watched", one.name or "-", one.vim_id or "-", one.reason) for one in found.not_watched),
        *(("failed", one.name, one.vim_id, one.reason) for one in passed.done.failed),
    ]
    if rows:
        show_table(("WHAT", "NAME", "ID", "+AUTH_URL OR REASON"), rows)
    if found.doubt is not None:
        from vimmon.tacker.plan import TIMES

        out().print(
            f"Tacker's list lacks {len(found.doubt.missing)} of {found.doubt.out_of} VIMs. It is not believed, and "
            f"nothing was changed: it has said so {found.doubt.times} of {TIMES} times.\n"
            "  If it is right: vimmon tacker sync --believe-loss"
        )
        return
    counts = f"{len(found.register)} registered, {len(found.update)} updated, {len(found.deregister)} de-registered"
    would = "would be: " if dry_run else ""
    out().print(
        f"{would}{counts}, {len(found.not_watched)} not watched; {passed.followed} VIMs of Tacker's are watched"
    )


def _as_json(passed: "Passed") -> dict[str, Any]:
    found = passed.plan

    def skipped(many: Iterable[Any]) -> list[dict[str, str]]:
        return [{"id": one.vim_id, "name": one.name, "reason": one.reason} for one in many]

    def named(many: Iterable[Any]) -> list[dict[str, str]]:
        return [{"id": one.listed.vim_id, "name": one.name, "auth_url": one.listed.auth_url} for one in many]

    return {
        "registered": named(found.register),
        "updated": named(found.update),
        "deregistered": [{"id": vim.id, "name": vim.name, "auth_url": vim.auth_url} for vim in found.deregister],
        "not_watched": skipped(found.not_watched),
        "failed": skipped(passed.done.failed),
        "followed": passed.followed,
        "given": passed.given,
        "doubt": found.doubt
        and {"missing": sorted(found.doubt.missing), "out_of": found.doubt.out_of, "times": found.doubt.times},
    }
