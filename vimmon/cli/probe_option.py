"""Reads `--probe`: KIND, or KIND,setting=value,…, or a JSON object. What the settings mean is checked elsewhere."""

import json
from collections.abc import Mapping
from typing import Any

from vimmon.errors import InvalidInput, repeated

HELP = 'How to ask the VIM: a kind (http, tcp, icmp), "tcp,interval_s=5,fall=2", or a JSON object.'
REMEDY = """Write --probe tcp, --probe tcp,interval_s=5,fall=2, or --probe '{"kind": "tcp", "interval_s": 5}'"""
LISTS = frozenset({"expect_status"})  # a part without "=" goes on with the list before it


class UnreadableProbe(InvalidInput):
    exit_code = 2

    def __init__(self, problem: str) -> None:
        super().__init__("--probe", problem, remedy=REMEDY)


def parse_probe_option(text: str | None) -> dict[str, Any] | None:
    """The probe's settings. None as a setting's value takes it back. Raises UnreadableProbe."""
    if text is None:
        return None
    text = text.strip()
    if not text:
        raise UnreadableProbe("it is empty")
    return _from_json(text) if text.startswith("{") else _from_list(text)


def for_update(given: dict[str, Any] | None, old: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings to have afterwards: of the same kind, what was given changes and the rest stays as it was."""
    if given is None or given.get("kind", old.get("kind")) != old.get("kind"):
        return given
    return {**old, **given}


def _from_json(text: str) -> dict[str, Any]:
    try:
        probe = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableProbe(f"it is not JSON ({error})") from None
    if not isinstance(probe, dict):
        raise UnreadableProbe("it is not a JSON object")
    return probe


def _from_list(text: str) -> dict[str, Any]:
    first, *others = (part.strip() for part in text.split(","))
    probe: dict[str, Any] = {}
    if "=" in first:
        others.insert(0, first)
    else:
        probe["kind"] = first
    latest = ""
    for other in others:
        name, equals, value = (part.strip() for part in other.partition("="))
        if other and not equals and latest in LISTS:
            probe[latest] += f",{other}"
            continue
        if not equals or not name:
            raise UnreadableProbe(f"{repeated(other)!r} is not setting=value")
        if name in probe:
            raise UnreadableProbe(f"{repeated(name)} is given twice")
        probe[name] = value or None
        latest = name if value else ""
    return probe
