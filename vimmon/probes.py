"""What a VIM can be asked, as data: the kinds of probe, their settings, and the default for each type of VIM.

To add a kind: a class here, and a file in `vimmon/actions/probing/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from vimmon.errors import InvalidInput, repeated
from vimmon.probe_checks import (
    SEE_DOCS,
    check_address,
    check_path,
    check_proxy,
    check_server_name,
    check_status_codes,
    check_target,
    invalid,
    ip_version,
    target_of,
)
from vimmon.vim import Frozen, Target, VimStatus, VimType

TEXT_MAX = 1000
FAMILY_NUMBERS = {4: "4", 6: "6"}
UNSAID = {"ip_family": "auto", "verify": True}  # left out of what is stored; so is what is None
TLS_SETTINGS = ("ca_file", "client_cert_file", "client_key_file", "server_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one probe found, and why. UNKNOWN: the prober could not probe, which says nothing about the VIM.

    It is made and dropped at every probe, from what is known to be right: so nothing is checked.
    """

    status: VimStatus  # never PENDING
    reason: str
    rtt_ms: float | None = None
    certificate_expires_at: datetime | None = None


@dataclass(slots=True)
class Trace:
    """Where the time of one probe went, for whoever asks. None: it did not come that far, or has no such phase."""

    turn_ms: float | None = None  # waiting for its turn: a lag of the prober
    name_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    answer_ms: float | None = None
    address: str | None = None  # the one that answered, or the last that was tried
    unfinished: str | None = None  # the phase in which the probe ended without success, like `tls`
    unfinished_ms: float | None = None  # how long it had lasted by then


class HttpPreset(StrEnum):
    KEYSTONE = "keystone"
    KUBERNETES = "kubernetes"
    PLAIN = "plain"


class IpFamily(StrEnum):
    AUTO = "auto"
    IPV4 = "4"
    IPV6 = "6"


class ProbeBase(Frozen):
    """What all kinds have. Times in seconds; `confirm_interval_s` is the interval while a change is being confirmed;
    `rise` and `fall` are how many equal outcomes in a row make a VIM REACHABLE or UNREACHABLE."""

    auth_url: str
    interval_s: float = Field(ge=0.1, le=3600)
    confirm_interval_s: float = Field(default=2, ge=0.05, le=3600, validate_default=True)
    timeout_s: float = Field(ge=0.05, le=60)
    rise: int = Field(default=2, ge=1, le=100)
    fall: int = Field(default=3, ge=1, le=100)
    ip_family: IpFamily = IpFamily.AUTO
    source_address: str | None = None

    @property
    def next_hop(self) -> Target:
        """What a connection is opened to. A parsed URL is remembered: this is asked at every probe."""
        return target_of(self.auth_url)

    _target = field_validator("auth_url")(check_target)

    @field_validator("interval_s", "confirm_interval_s", "timeout_s", "rise", "fall", mode="before")
    @classmethod
    def _is_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool):
            raise invalid(str(info.field_name), "it is not a number but true or false")
        return value

    @field_validator("confirm_interval_s")
    @classmethod
    def _confirming_is_not_slower(cls, confirm_interval_s: float, info: ValidationInfo) -> float:
        interval_s: float = info.data.get("interval_s", confirm_interval_s)
        return min(confirm_interval_s, interval_s)

    @field_validator("ip_family", mode="before")
    @classmethod
    def _may_be_a_number(cls, family: Any) -> Any:
        return FAMILY_NUMBERS.get(family, family) if type(family) is int else family

    _source = field_validator("source_address")(check_address)

    @model_validator(mode="after")
    def _families_agree(self) -> Self:
        """The address to connect to, the one to connect from and the family, as far as they are given."""
        said = {"the target is an address": ip_version(self.next_hop.host)}
        if self.source_address is not None:
            said["source_address is one"] = ip_version(self.source_address)
        if self.ip_family != IpFamily.AUTO:
            said["ip_family is"] = int(self.ip_family)
        known = {words: version for words, version in said.items() if version}
        if len(set(known.values())) > 1:
            problem = ", ".join(f"{words} of IPv{version}" for words, version in known.items())
            raise invalid("ip_family" if "ip_family is" in known else "source_address", problem)
        return self

    @model_serializer(mode="wrap")
    def _what_was_chosen(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the settings that say nothing, so that an executor of an older version can read it where it can."""
        said: dict[str, Any] = serialize(self)
        return {name: value for name, value in said.items() if value is not None and UNSAID.get(name) != value}

    def settings(self) -> dict[str, Any]:
        """The probe without its target, as it is stored with the VIM."""
        return self.model_dump(mode="json", exclude={"auth_url"})


class HttpProbe(ProbeBase):
    """Asks the VIM's API for its version or readiness, or any server for what is expected, without logging in."""

    kind: Literal["http"] = "http"
    preset: HttpPreset
    interval_s: float = Field(default=30, ge=0.1, le=3600)
    timeout_s: float = Field(default=5, ge=0.05, le=60)
    expect_status: str | None = None  # "200,300-399", as `parse_status_codes` reads it
    expect_text: str | None = Field(default=None, min_length=1, max_length=TEXT_MAX)
    verify: bool = True
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    server_name: str | None = None
    proxy: str | None = None

    @property
    def next_hop(self) -> Target:
        return target_of(self.proxy or self.auth_url)

    _codes = field_validator("expect_status", mode="before")(check_status_codes)
    _paths = field_validator("ca_file", "client_cert_file", "client_key_file")(check_path)
    _name = field_validator("server_name")(check_server_name)
    _proxy = field_validator("proxy")(check_proxy)

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        for name in ("expect_status", "expect_text"):
            if getattr(self, name) is not None and self.preset != HttpPreset.PLAIN:
                remedy = f"Say preset=plain, or take it back with {name}="
                raise invalid(name, f"preset {self.preset} knows by itself what to expect", remedy)
        for name in TLS_SETTINGS:
            if getattr(self, name) is not None and target_of(self.auth_url).scheme != "https":
                raise invalid(name, "auth_url does not begin with https://", f"Take it back with {name}=")
        if self.client_key_file is not None and self.client_cert_file is None:
            raise invalid("client_key_file", "there is no client_cert_file to which it belongs")
        return self


class TcpProbe(ProbeBase):
    """Opens a connection to the port in `auth_url`, and closes it."""

    kind: Literal["tcp"] = "tcp"
    interval_s: float = Field(default=10, ge=0.1, le=3600)
    timeout_s: float = Field(default=2, ge=0.05, le=60)


class IcmpProbe(ProbeBase):
    """Sends an echo request (ping) to the host in `auth_url`, and awaits the reply."""

    kind: Literal["icmp"] = "icmp"
    interval_s: float = Field(default=10, ge=0.1, le=3600)
    timeout_s: float = Field(default=1, ge=0.05, le=60)


Probe = Annotated[HttpProbe | TcpProbe | IcmpProbe, Field(discriminator="kind")]


KINDS: Mapping[str, type[ProbeBase]] = {"http": HttpProbe, "tcp": TcpProbe, "icmp": IcmpProbe}


class _Parser:
    adapter: ClassVar[TypeAdapter[Probe]] = TypeAdapter(Probe)


DEFAULTS: Mapping[VimType, Mapping[str, Any]] = {
    VimType.OPENSTACK: {"kind": "http", "preset": HttpPreset.KEYSTONE},
    VimType.KUBERNETES: {"kind": "http", "preset": HttpPreset.KUBERNETES},
    VimType.GENERIC: {"kind": "tcp"},
}


def parse_probe(probe: Mapping[str, Any]) -> Probe:
    """A whole probe, `auth_url` included. Raises InvalidInput that names the setting."""
    try:
        return _Parser.adapter.validate_python(probe)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in KINDS)
        if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
            raise invalid("kind", "there is no such kind", f"The kinds are {', '.join(KINDS)}") from None
        if first["type"] == "extra_forbidden":
            called = repeated(where)
            raise invalid(called, "there is no such setting", _meant(called, KINDS[probe["kind"]])) from None
        problem = first["msg"].replace("Input should", "it should", 1)
        raise InvalidInput(f"probe.{where}" if where else "probe", problem, remedy=SEE_DOCS) from None


def _meant(name: str, kind: type[ProbeBase]) -> str:
    """A remedy for whoever wrote a setting that is none."""
    settings = [each for each in kind.model_fields if each != "auth_url"]
    return f"Did you mean {near[0]}?" if (near := get_close_matches(name, settings, n=1)) else SEE_DOCS


def probe_for(vim_type: VimType, auth_url: str, settings: Mapping[str, Any] | None = None) -> Probe:
    """The probe of a VIM: what `settings` say, and for the rest (what is None, too) the default of its type."""
    chosen = {name: value for name, value in (settings or {}).items() if value is not None}
    if "auth_url" in chosen:
        raise invalid("auth_url", "it belongs to the VIM, not to its probe", "Give it with --auth-url")
    default = DEFAULTS[vim_type]
    if chosen.setdefault("kind", default["kind"]) == "http":
        expects = "expect_status" in chosen or "expect_text" in chosen
        chosen.setdefault("preset", HttpPreset.PLAIN if expects else default.get("preset", HttpPreset.PLAIN))
    return parse_probe({**chosen, "auth_url": auth_url})
