"""Writes docs/configuration.md from the settings themselves: `python -m tests.documents.configuration`."""

from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from vimmon.settings import DEFAULT_ENV_FILE, ENV_FILE, LONGEST_S, PREFIX, RELATIONS, SHORTEST_S, Settings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
# What a default depends on, where it is made when a process starts.
MADE = {
    "database_url": "`sqlite:///` and `vimmon.sqlite` in the user's data folder, `~/.local/share/vimmon`",
    "executor_name": "the name of the host",
}
UNITS = {"_s": "s", "_days": "days"}
HEAD = f"""# Configuration

Every setting is a variable of the environment. A process reads it there, or, below that, from the file that
`{ENV_FILE}` names, by default `{DEFAULT_ENV_FILE}`: lines of `NAME=value`. All are checked when a process starts;
one that is unknown or out of range is refused with its name, and with the nearest known one, or what it should be.

`vimmon up` writes such a file for what it starts. Where Mistral or Tacker asks for a Keystone token, the usual `OS_*`
variables (`OS_AUTH_URL`, `OS_USERNAME`, `OS_PASSWORD`, `OS_PROJECT_NAME`, …) hold as well, from the same places.

Executors need `VIMMON_REDIS_URL` alone, and the values of `VIMMON_PREFIX` and of the `…_S` settings that the conductors
have, where those were changed. A password in a URL is percent-encoded.

| variable | unit | default | what it says |
|---|---|---|---|
"""
FOOT = """
A duration is from {shortest} to {longest} s. How they must relate, checked together:

{relations}Intervals, timeouts, rise and fall of a probe are settings of the VIM: [probes](probes.md).

This page is made from the settings; a test keeps it so.
"""


def page() -> str:
    return HEAD + "".join(_line(name, field) for name, field in Settings.model_fields.items()) + _foot()


def _foot() -> str:
    relations = "\n".join(f"- {_with_variables(str(relation))}." for relation in RELATIONS)
    return FOOT.format(shortest=f"{SHORTEST_S:g}", longest=f"{LONGEST_S:.0f}", relations=relations)


def _with_variables(text: str) -> str:
    return " ".join(_variable(word) for word in text.split())


def _variable(word: str) -> str:
    name = word.rstrip(",")
    return word.replace(name, f"`{PREFIX}{name.upper()}`") if name in Settings.model_fields else word


def _line(name: str, field: FieldInfo) -> str:
    unit = next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")
    return f"| `{PREFIX}{name.upper()}` | {unit} | {_default(name, field)} | {field.description} |\n"


def _default(name: str, field: FieldInfo) -> str:
    if name in MADE:
        return MADE[name]
    value = field.get_default()
    if value is PydanticUndefined:
        raise ValueError(f"{name}: say in MADE what its default is made of")
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "none" if value is None else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page())
