"""Reads a file of VIMs, YAML or JSON: a list of entries, or `vims:` and the list, or one entry.

What the entries say is checked elsewhere. Plain words of YAML stay text: a VIM may be called `no`, or `0017`.
"""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vimmon.errors import InvalidInput, repeated

MAX_BYTES = 16 * 1024 * 1024
EXAMPLE = """Write it like
    vims:
      - name: tokyo
        auth_url: https://keystone.example.org:5000/v3"""


@dataclass(frozen=True)
class Entry:
    """`where`: for a person who looks for it in the file."""

    where: str
    said: Any


class UnreadableFile(InvalidInput):
    exit_code = 2

    def __init__(self, problem: str, *, remedy: str = EXAMPLE) -> None:
        super().__init__("--file", problem, remedy=remedy)


def read_file(file: Path) -> str:
    """What the file says; `-` is standard input. Raises UnreadableFile."""
    try:
        if str(file) == "-":
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with file.open("rb") as opened:
                raw = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f"{file}: {error.strerror}", remedy="Name a file that can be read") from None
    if len(raw) > MAX_BYTES:
        raise UnreadableFile(f"{file}: more than {MAX_BYTES >> 20} MiB", remedy="Give it in several files")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{file}: not UTF-8, at byte {error.start}", remedy="Save it as UTF-8") from None


def parse(text: str) -> list[Entry]:
    """The entries, in the order of the file. Raises UnreadableFile."""
    try:
        return _entries(json.loads(text, object_pairs_hook=_without_duplicates), [])
    except RecursionError:
        raise UnreadableFile("it is nested too deeply") from None
    except ValueError as error:
        looks_like_json = text.lstrip()[:1] in ("{", "[")
        try:
            return _parse_yaml(text)
        except yaml.YAMLError as trouble:
            raise UnreadableFile(f"it is not JSON: {error}" if looks_like_json else _said(trouble)) from None
        except RecursionError:
            raise UnreadableFile("it is nested too deeply") from None


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # as PyYAML wants it
    # Of its other types PyYAML makes exceptions of all kinds where they are malformed.
    yaml_constructors = {  # noqa: RUF012
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (None, *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "null", "seq", "map")))
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{repeated(key)} is given twice", node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


def _parse_yaml(text: str) -> list[Entry]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return _entries(None, [])
        lines: list[int] = []
        listed = node
        if isinstance(node, yaml.MappingNode):
            listed = next((value for key, value in node.value if key.value == "vims"), node)
        if isinstance(listed, yaml.SequenceNode):
            lines = [item.start_mark.line + 1 for item in listed.value]
        return _entries(loader.construct_document(node), lines)
    finally:
        loader.dispose()


def _entries(document: Any, lines: Sequence[int]) -> list[Entry]:
    if isinstance(document, dict) and "vims" in document:
        if others := document.keys() - {"vims"}:
            raise UnreadableFile(f"beside vims it has {repeated(', '.join(sorted(map(str, others))))}")
        document = document["vims"]
    elif isinstance(document, dict):
        document = [document]
    if not isinstance(document, list):
        raise UnreadableFile("there is no list of VIMs in it")
    places = [f"entry {number}" for number in range(1, len(document) + 1)]
    if lines:
        places = [f"{place} (line {line})" for place, line in zip(places, lines, strict=True)]
    return [Entry(where, said) for where, said in zip(places, document, strict=True)]


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise UnreadableFile(f"{repeated(key)} is given twice in one entry", remedy="Give it once")
        made[key] = value
    return made


def _said(trouble: yaml.YAMLError) -> str:
    """In one line, with the place."""
    mark = getattr(trouble, "problem_mark", None)
    problem = getattr(trouble, "problem", None) or str(trouble)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}{repeated(' '.join(str(problem).split()))}"
