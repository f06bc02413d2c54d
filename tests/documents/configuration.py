"""Writes docs/configuration.md from the settings themselves: `python -m tests.documents.configuration`."""

from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from vimmon.settings import DEFAULT_ENV_FILE, ENV_FILE, LONGEST_S, PREFIX, SHORTEST_S, Settings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
# What a default depends on, where it is made when a process starts.
MADE = {
    "database_url": "`sqlite:///` and `vimmon.sqlite` in the user's data folder, `~/.local/share/vimmon`",
    "executor_name": "the name of the host",
}
UNITS = {"_s": "s", "_days": "days"}
HEAD = f"""# Configuration

Every setting is a variable of the environment. A process reads it there, or, below that, from the file that `{ENV_FILE}`
names, by default `{DEFAULT_ENV_FILE}`: lines of `NAME=value`. All are checked when a process starts; one that is unknown or
out of range is refused with its name, the nearest known one, or what it should be.

`vimmon up` writes such a file for what it starts. Where Mistral asks for a Keystone token, the usual `OS_*` variables
(`OS_AUTH_URL`, `OS_USERNAME`, `OS_PASSWORD`, `OS_PROJECT_NAME`, …) hold as well, from the same places.

Executors need `VIMMON_REDIS_URL` alone, and the values of `VIMMON_PREFIX` and of the `…_S` settings that the conductors
have, where those were changed. A passphrase in a URL is percent-encoded.

| variable | unit | default | what it says |
|---|---|---|---|
"""
FOOT = f"""
A duration is from {SHORTEST_S:g} to {LONGEST_S:.0f} s. How they must relate, checked together:

- `VIMMON_EXECUTOR_TTL_S` covers two of `VIMMON_EXECUTOR_BEAT_S`, and `VIMMON_CONDUCTOR_TTL_S` two of `VIMMON_CONDUCTOR_BEAT_S`: or
  one lost message ends a life.
- `VIMMON_TAKEN_MAX_AGE_S` is not below `VIMMON_CONDUCTOR_TTL_S`: or a conductor that lives loses its batches.
- `VIMMON_LEASE_TTL_S` covers five of `VIMMON_CHECK_INTERVAL_S`: or leases expire between two looks.
- `VIMMON_UNKNOWN_AFTER_S` is not below `VIMMON_EXECUTOR_TTL_S`: or what is watched becomes UNKNOWN.
- `VIMMON_PURGE_AFTER_S` is not below `VIMMON_LEASE_TTL_S`: or a generation could be used twice.

Intervals, timeouts, rise and fall of a probe are settings of the VIM: [probes](probes.md).

This page is made from the settings; a test keeps it so.
"""


def page() -> str:
    return HEAD + "".join(_line(name, field) for name, field in Settings.model_fields.items()) + FOOT


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
