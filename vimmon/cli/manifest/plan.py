"""What has to be done so that the VIMs of a file are registered as it says, and what is wrong with it: all of it.

What an entry does not say stays as it is; a VIM that no entry names is left alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from vimmon.cli.manifest.file import Entry
from vimmon.cli.probe_option import for_update, parse_probe_option
from vimmon.errors import InvalidInput, VimmonError, repeated
from vimmon.probes import probe_for
from vimmon.registry.values import probe_text
from vimmon.vim import Vim, VimType, check_name, parse_auth_url

FIELDS = ("name", "auth_url", "type", "probe")
SHOWN_ONLY = frozenset(Vim.model_fields) - set(FIELDS) | {"changes"}  # so that what was listed can be registered
SHOWN_MAX = 20
Action = Literal["register", "update", "leave"]
DONE: Mapping[Action, str] = {"register": "registered", "update": "updated", "leave": "unchanged"}


@dataclass(frozen=True)
class Step:
    """`old`: as it is registered now. `probe`: all its settings."""

    action: Action
    where: str
    name: str
    auth_url: str
    type: VimType
    probe: Mapping[str, Any]
    old: Vim | None


class BadEntries(VimmonError):
    remedy = "Nothing was written. Correct the file"

    def __init__(self, problems: Sequence[str], entries: int, *, remedy: str = "") -> None:
        shown = list(problems[:SHOWN_MAX])
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        of = f"of {entries} entries" if entries != 1 else "of one entry"
        super().__init__("\n  ".join([f"{len(problems)} {of} cannot be registered:", *shown]), remedy=remedy)


def plan(entries: Sequence[Entry], registered: Mapping[str, Vim], *, may_update: bool) -> list[Step]:
    """One step for each entry. `registered`: by name. Raises BadEntries, which tells of each entry that is wrong."""
    steps: list[Step] = []
    problems: list[str] = []
    first: dict[str, str] = {}
    differ = 0
    for entry in entries:
        called = entry.said.get("name") if isinstance(entry.said, dict) else None
        place = f"{entry.where}, {repeated(called)}" if isinstance(called, str) and called.strip() else entry.where
        try:
            step = _step(entry, registered)
            if step.name in first:
                raise InvalidInput("name", f"{first[step.name]} has it too", remedy="")
            first[step.name] = entry.where
            if step.action == "update" and not may_update:
                differ += 1
                raise InvalidInput(_difference(step), "it is registered with another", remedy="")
        except InvalidInput as problem:
            remedy = f" ({problem.remedy})" if problem.remedy else ""
            problems.append(f"{place}: {problem}{remedy}")
        else:
            steps.append(step)
    if problems:
        update = "Nothing was written. To change those that are registered: --update"
        raise BadEntries(problems, len(entries), remedy=update if differ == len(problems) else "")
    return steps


def _step(entry: Entry, registered: Mapping[str, Vim]) -> Step:
    said = _fields(entry.said)
    name = check_name(_text(said, "name"))
    auth_url = _text(said, "auth_url")
    parse_auth_url(auth_url)
    old = registered.get(name)
    vim_type = _type(said, old)
    probe = _probe(said)
    if old is not None:
        probe = for_update(probe, old.probe) if probe is not None else old.probe
    settings = probe_for(vim_type, auth_url, probe).settings()
    probe_text(settings)
    same = old is not None and (auth_url, settings) == (old.auth_url, old.probe)
    action: Action = "register" if old is None else "leave" if same else "update"
    return Step(action, entry.where, name, auth_url, vim_type, settings, old)


def _fields(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise InvalidInput("entry", "it has no fields", remedy="Give at least name and auth_url")
    for field in said:
        if field not in FIELDS and field not in SHOWN_ONLY:
            called = repeated(field)
            near = get_close_matches(called, FIELDS, n=1)
            remedy = f"Did you mean {near[0]}?" if near else f"An entry has {', '.join(FIELDS)}"
            raise InvalidInput(called, "there is no such field", remedy=remedy)
    return said


def _text(said: Mapping[str, Any], field: str) -> str:
    value = said.get(field)
    if value is None:
        raise InvalidInput(field, "it is missing", remedy="")
    if not isinstance(value, str):
        raise InvalidInput(field, "it is not text", remedy="Put it between quotation marks")
    return value


def _type(said: Mapping[str, Any], old: Vim | None) -> VimType:
    if said.get("type") is None:
        return old.type if old else VimType.OPENSTACK
    try:
        given = VimType(_text(said, "type"))
    except ValueError:
        raise InvalidInput("type", "there is none of that name", remedy=f"One of {', '.join(VimType)}") from None
    if old is not None and given != old.type:
        raise InvalidInput("type", f"it is registered as {old.type}", remedy="De-register it first")
    return given


def _probe(said: Mapping[str, Any]) -> dict[str, Any] | None:
    probe = said.get("probe")
    if isinstance(probe, str):
        try:
            return parse_probe_option(probe)
        except InvalidInput as error:
            raise InvalidInput("probe", str(error).partition(": ")[2], remedy="") from None
    if probe is None or isinstance(probe, dict):
        return probe
    raise InvalidInput("probe", "it has no settings", remedy="Write it like {kind: tcp, interval_s: 5}")


def _difference(step: Step) -> str:
    assert step.old is not None  # noqa: S101  # only an update has a difference
    if step.auth_url != step.old.auth_url:
        return "auth_url"
    names = sorted(step.probe.keys() | step.old.probe.keys())
    return ", ".join(f"probe.{name}" for name in names if step.probe.get(name) != step.old.probe.get(name))
