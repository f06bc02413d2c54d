"""Carries a plan out, one VIM after the other, with a bar that shows how far it is."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from vimmon.cli.manifest.file import parse, read_file
from vimmon.cli.manifest.plan import DONE, Step, plan
from vimmon.cli.output import err, out, show_json, warn
from vimmon.cli.tools import Tools
from vimmon.registry.registry import Change
from vimmon.vim import Vim


def register_file(file: Path, *, may_update: bool, dry_run: bool, as_json: bool) -> None:
    """Raises UnreadableFile and BadEntries, with nothing written; later errors tell how far it came."""
    entries = parse(read_file(file))
    tools = Tools()
    steps = plan(entries, {vim.name: vim for vim in tools.registry.list()}, may_update=may_update)
    done = [] if dry_run else _carry_out(tools, steps, silent=as_json)
    if as_json:
        vims = {vim.name: vim.model_dump(mode="json") for vim in done}
        show_json([{"name": step.name, "result": DONE[step.action], "vim": vims.get(step.name)} for step in steps])
    else:
        counts = Counter(step.action for step in steps)
        told = ", ".join(f"{counts[action]} {DONE[action]}" for action in DONE)
        out().print(f"{'this would be: ' if dry_run else ''}{told}")


def _carry_out(tools: Tools, steps: Sequence[Step], *, silent: bool) -> list[Vim]:
    console = err()
    done: list[Vim] = []
    delayed: list[str] = []
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = silent or not console.is_terminal
    try:
        with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
            for step in progress.track(steps):
                change = _do(tools, step)
                done.append(change.vim)
                delayed += [change.delayed] if change.delayed else []
    except BaseException:
        if done:
            warn(f"{len(done)} of {len(steps)} are done; run it again for the rest")
        raise
    if delayed:
        warn(f"{len(delayed)} changes are stored; their effect is delayed: {delayed[0]}")
    return done


def _do(tools: Tools, step: Step) -> Change:
    if step.old is None:
        return tools.registry.register(step.name, step.auth_url, type=step.type, probe=step.probe)
    if step.action == "leave":
        return Change(step.old)
    return tools.registry.update(step.old.id, auth_url=step.auth_url, probe=step.probe)
