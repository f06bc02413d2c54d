"""What Tacker lists: the VIMs that can be watched, and why the others are not. No I/O.

Of each entry only the fields of FIELDS are looked at; a credential that stands beside them goes no further.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vimmon.errors import InvalidInput
from vimmon.vim import VimType, check_name, check_vim_id, parse_auth_url

FIELDS = ("id", "name", "type", "auth_url", "tenant_id")
EXTRA_FIELD = "extra"  # asked for only where statuses are given back
EXTRA_KEY = "vimmon"
TYPES = {"openstack": VimType.OPENSTACK, "kubernetes": VimType.KUBERNETES}
TENANT = re.compile(r"[A-Za-z0-9-]{1,64}")
SHOWN_MAX = 100  # of what cannot be read; the whole may be anything


@dataclass(frozen=True, slots=True)
class Listed:
    """A VIM that Tacker has and that can be watched. `tenant_id`: whose it is; empty where Tacker does not say. `told`:
    the status, and since when, that Tacker was last told."""

    vim_id: str
    name: str
    type: VimType
    auth_url: str
    tenant_id: str = ""
    told: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class NotWatched:
    """One that is not watched, as far as its entry can be shown, and why."""

    vim_id: str
    name: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """`mentioned`: every id in the list, whatever else its entry says: such a VIM is not gone."""

    watched: Mapping[str, Listed] = field(default_factory=dict)
    not_watched: tuple[NotWatched, ...] = ()
    mentioned: frozenset[str] = frozenset()


def read_listing(entries: Iterable[object]) -> Listing:
    """What the entries say. One that cannot be read harms no other; of two with one id the first counts."""
    watched: dict[str, Listed] = {}
    not_watched: list[NotWatched] = []
    mentioned: set[str] = set()
    for entry in entries:
        found = _read(entry)
        if found.vim_id and found.vim_id in mentioned:
            continue
        mentioned.add(found.vim_id)
        if isinstance(found, Listed):
            watched[found.vim_id] = found
        else:
            not_watched.append(found)
    return Listing(watched, tuple(not_watched), frozenset(mentioned - {""}))


def _read(entry: object) -> Listed | NotWatched:
    if not isinstance(entry, dict):
        return NotWatched("", "", "its entry is no JSON object")
    vim_id, name = _shown(entry.get("id")), _shown(entry.get("name"))
    try:
        return Listed(
            check_vim_id(_text(entry, "id")),
            check_name(_text(entry, "name")),
            _type(_text(entry, "type")),
            _auth_url(_text(entry, "auth_url")),
            _tenant(entry.get("tenant_id")),
            _told(entry.get(EXTRA_FIELD)),
        )
    except InvalidInput as trouble:
        return NotWatched(vim_id, name, str(trouble))


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise InvalidInput(name, "it is missing" if value is None else "it is no text", remedy="")
    return value


def _type(text: str) -> VimType:
    if text not in TYPES:
        raise InvalidInput("type", f"{_shown(text)!r} is not watched, only {' and '.join(TYPES)}", remedy="")
    return TYPES[text]


def _auth_url(text: str) -> str:
    parse_auth_url(text)
    return text


def _tenant(value: object) -> str:
    """As a part of a name it must not spoil that."""
    return value if isinstance(value, str) and TENANT.fullmatch(value) else ""


def _told(extra: object) -> tuple[str, str] | None:
    said = extra.get(EXTRA_KEY) if isinstance(extra, dict) else None
    if not isinstance(said, dict):
        return None
    return _shown(said.get("status")), _shown(said.get("since"))


def _shown(value: object) -> str:
    return value[:SHOWN_MAX] if isinstance(value, str) else ""
