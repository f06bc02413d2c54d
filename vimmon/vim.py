"""What a VIM is: its type, its status, and the target that its `auth_url` names."""

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from vimmon.errors import InvalidInput

AUTH_URL_MAX = 2000
NAME_MAX = 255
DEFAULT_PORTS = {"http": 80, "https": 443}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
HOST_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
ZONE = re.compile(r"[a-z0-9._~-]+", re.IGNORECASE)  # RFC 6874
EXAMPLE = "Write it like https://keystone.example.org:5000/v3"


class Frozen(BaseModel):
    """A value: it cannot be changed, and refuses fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VimType(StrEnum):
    OPENSTACK = "openstack"
    KUBERNETES = "kubernetes"
    GENERIC = "generic"


class VimOrigin(StrEnum):
    """Who keeps a VIM: what one registered, the other never changes."""

    OPERATOR = "operator"  # registered by hand, or by a program that uses Registry
    TACKER = "tacker"  # follows what a Tacker server lists


class VimStatus(StrEnum):
    PENDING = "PENDING"  # registered, nothing heard yet
    REACHABLE = "REACHABLE"
    UNREACHABLE = "UNREACHABLE"
    UNKNOWN = "UNKNOWN"  # nobody is watching, or nobody can


def known_status(text: str) -> VimStatus:
    """The status of this name; one that only another version of vimmon knows is UNKNOWN here."""
    return STATUSES.get(text, VimStatus.UNKNOWN)


STATUSES = {str(status): status for status in VimStatus}


class Vim(Frozen):
    """A registered VIM as everybody outside sees it. Times are UTC.

    `executor` and `last_checked` are known to Redis alone: None where nobody asked it.
    """

    id: str
    name: str
    type: VimType
    auth_url: str
    probe: dict[str, Any]
    status: VimStatus
    reason: str | None
    status_since: datetime
    action_id: str | None
    generation: int
    execution_id: str | None
    origin: VimOrigin = VimOrigin.OPERATOR
    executor: str | None = None
    last_checked: datetime | None = None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Target:
    """Where an `auth_url` points. `host` is a name or an address without brackets; a zone follows after a plain %."""

    scheme: str
    host: str
    port: int
    path: str


def check_name(name: str) -> str:
    """The name without spaces around it.

    Raises InvalidInput for an empty or overlong one, one with control characters, and one that looks like an id.
    """
    name = name.strip()
    remedy = f"Give a name of 1 to {NAME_MAX} printable characters"
    if not name:
        raise InvalidInput("name", "it is empty", remedy=remedy)
    if len(name) > NAME_MAX:
        raise InvalidInput("name", f"it has {len(name)} characters", remedy=remedy)
    if not name.isprintable():
        raise InvalidInput("name", "it has a control character", remedy=remedy)
    if UUID.fullmatch(name):
        raise InvalidInput("name", "it looks like a VIM's id", remedy="Give a name that is not a UUID")
    return name


def check_vim_id(vim_id: str) -> str:
    """The id. Raises InvalidInput for what is not a UUID in small letters: ids are compared letter by letter."""
    if not UUID.fullmatch(vim_id) or vim_id != vim_id.lower():
        raise InvalidInput("id", "it is not a UUID in small letters", remedy="Give none, and one is made")
    return vim_id


def parse_auth_url(auth_url: str) -> Target:
    """The target that `auth_url` names.

    Raises InvalidInput for anything but http(s)://HOST[:PORT][/PATH]. User and password are refused without being
    repeated: they must not reach a log.
    """

    def refuse(problem: str, remedy: str = EXAMPLE) -> InvalidInput:
        return InvalidInput("auth_url", problem, remedy=remedy)

    if len(auth_url) > AUTH_URL_MAX:
        raise refuse(f"it has {len(auth_url)} characters", f"Give at most {AUTH_URL_MAX}")
    if not auth_url.isascii() or not auth_url.isprintable() or " " in auth_url or "\\" in auth_url:
        raise refuse("it has a space, a backslash, or a character outside printable ASCII")
    try:
        parts = urlsplit(auth_url)
    except ValueError:
        raise refuse("it is not a URL (bad host)") from None
    if "@" in parts.netloc:
        raise refuse("it contains a user name or password", "Leave out what stands before the @: probes need no login")
    if parts.scheme not in DEFAULT_PORTS:
        raise refuse("it does not begin with http:// or https://")
    if parts.query or parts.fragment or "?" in auth_url or "#" in auth_url:
        raise refuse("it has a query or a fragment", "Leave out what follows the ? or #")
    host = parts.hostname
    if not host:
        raise refuse("it names no host")
    bracketed = parts.netloc.startswith("[")
    if parts.netloc.count(":") > 1 and not bracketed:
        raise refuse("it has an IPv6 address without brackets", "Write it like http://[2001:db8::1]:5000/v3")
    if bracketed and parts.netloc.rpartition("]")[2][:1] not in ("", ":"):
        raise refuse("something other than a port follows its IPv6 address")
    try:
        port = parts.port
    except ValueError:
        raise refuse("it is not a URL (bad port)") from None
    if port == 0 or parts.netloc.endswith(":"):
        raise refuse("its port is missing or 0", "Give a port from 1 to 65535, or no colon")
    if not (_is_ipv6(host) if bracketed else _is_host(host)):
        raise refuse("its host is neither a name nor an IP address")
    host = host.replace("%25", "%")  # how RFC 6874 writes the % before a zone
    return Target(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], parts.path)


def _is_ipv6(text: str) -> bool:
    address, percent, zone = text.replace("%25", "%").partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return not percent or ZONE.fullmatch(zone) is not None


def _is_host(text: str) -> bool:
    if re.fullmatch(r"[0-9.]+", text):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
        return True
    return len(text) <= 253 and all(HOST_LABEL.fullmatch(label) for label in text.removesuffix(".").split("."))
