"""What a VIM can be asked, as data: the kinds of probe, their settings, and the default for each type of VIM.

To add a kind: a class here, and a file in `vimmon/actions/probing/`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError, ValidationInfo, field_validator

from vimmon.errors import InvalidInput
from vimmon.vim import Frozen, VimStatus, VimType, parse_auth_url


class Outcome(Frozen):
    """What one probe found, and why. UNKNOWN: the prober could not probe, which says nothing about the VIM."""

    status: Literal[VimStatus.REACHABLE, VimStatus.UNREACHABLE, VimStatus.UNKNOWN]
    reason: str
    rtt_ms: float | None = None


class HttpPreset(StrEnum):
    KEYSTONE = "keystone"
    KUBERNETES = "kubernetes"


class ProbeBase(Frozen):
    """What all kinds have. Times in seconds; `confirm_interval_s` is the interval while a change is being confirmed;
    `rise` and `fall` are how many equal outcomes in a row make a VIM REACHABLE or UNREACHABLE."""

    auth_url: str
    interval_s: float = Field(ge=0.1, le=3600)
    confirm_interval_s: float = Field(default=2, ge=0.05, le=3600, validate_default=True)
    timeout_s: float = Field(ge=0.05, le=60)
    rise: int = Field(default=2, ge=1, le=100)
    fall: int = Field(default=3, ge=1, le=100)

    @field_validator("auth_url")
    @classmethod
    def _names_a_target(cls, auth_url: str) -> str:
        parse_auth_url(auth_url)
        return auth_url

    @field_validator("confirm_interval_s")
    @classmethod
    def _confirming_is_not_slower(cls, confirm_interval_s: float, info: ValidationInfo) -> float:
        interval_s: float = info.data.get("interval_s", confirm_interval_s)
        return min(confirm_interval_s, interval_s)

    def settings(self) -> dict[str, Any]:
        """The probe without its target, as it is stored with the VIM."""
        return self.model_dump(mode="json", exclude={"auth_url"})


class HttpProbe(ProbeBase):
    """Asks the VIM's API for its version or readiness, without logging in."""

    kind: Literal["http"] = "http"
    preset: HttpPreset
    interval_s: float = Field(default=30, ge=0.1, le=3600)
    timeout_s: float = Field(default=5, ge=0.05, le=60)


class TcpProbe(ProbeBase):
    """Opens a connection to the port in `auth_url`, and closes it."""

    kind: Literal["tcp"] = "tcp"
    interval_s: float = Field(default=10, ge=0.1, le=3600)
    timeout_s: float = Field(default=2, ge=0.05, le=60)


Probe = Annotated[HttpProbe | TcpProbe, Field(discriminator="kind")]


class _Parser:
    adapter: ClassVar[TypeAdapter[HttpProbe | TcpProbe]] = TypeAdapter(Probe)


DEFAULTS: Mapping[VimType, Mapping[str, Any]] = {
    VimType.OPENSTACK: {"kind": "http", "preset": HttpPreset.KEYSTONE},
    VimType.KUBERNETES: {"kind": "http", "preset": HttpPreset.KUBERNETES},
    VimType.GENERIC: {"kind": "tcp"},
}


def parse_probe(probe: Mapping[str, Any]) -> HttpProbe | TcpProbe:
    """A whole probe, `auth_url` included. Raises InvalidInput that names the setting."""
    try:
        return _Parser.adapter.validate_python(probe)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("http", "tcp"))
        problem = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"]
        raise InvalidInput(
            f"probe.{where}" if where else "probe", problem, remedy="See the kinds and settings in docs/probes.md"
        ) from None


def probe_for(vim_type: VimType, auth_url: str, settings: Mapping[str, Any] | None = None) -> HttpProbe | TcpProbe:
    """The probe of a VIM: what `settings` say, and for the rest the default of its type."""
    chosen = dict(settings or {})
    default = DEFAULTS[vim_type]
    if chosen.get("kind", default["kind"]) == default["kind"]:
        chosen = {**default, **chosen}
    elif chosen.get("kind") == "http":
        chosen.setdefault("preset", HttpPreset.KEYSTONE)
    return parse_probe({**chosen, "auth_url": auth_url})
