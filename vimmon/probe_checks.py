"""What single settings of a probe may be. Each check gives the setting back as it is kept, or raises InvalidInput."""

import ipaddress
from functools import lru_cache
from typing import Any

from pydantic import ValidationInfo

from vimmon.errors import InvalidInput, repeated
from vimmon.vim import HOST_LABEL, parse_auth_url

PATH_MAX = 1000
HOST_MAX = 253  # of a name in DNS
STATUS_MIN, STATUS_MAX = 100, 599
SEE_DOCS = "See the kinds and settings in docs/probes.md"
LIKE_CODES = "Write 200, or 200-299, or several of these"
OWN_ADDRESS = "Give an address of the executor's host"
LIKE_PROXY = "Write it like http://proxy.example.org:3128; a proxy that wants a login cannot be used"

target_of = lru_cache(maxsize=16_384)(parse_auth_url)


def invalid(setting: str, problem: str, remedy: str = SEE_DOCS) -> InvalidInput:
    return InvalidInput(f"probe.{setting}", problem, remedy=remedy)


def ip_version(address: str) -> int | None:
    """4 or 6. None: it is not an address."""
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return None


@lru_cache(maxsize=256)
def parse_status_codes(text: str) -> tuple[range, ...]:
    """The status codes that `text` names, like 200,300-399."""
    ranges = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not (_is_number(first) and (_is_number(last) or not dash)):
            raise invalid("expect_status", f"{repeated(part)!r} is neither a status code nor a range", LIKE_CODES)
        codes = range(int(first), int(last or first) + 1)
        if not codes or codes.start < STATUS_MIN or codes.stop > STATUS_MAX + 1:
            problem = f"{repeated(part)} is not within {STATUS_MIN} and {STATUS_MAX}, the lower first"
            raise invalid("expect_status", problem, LIKE_CODES)
        ranges.append(codes)
    return tuple(ranges)


def check_status_codes(codes: Any) -> str | None:
    """A code, a range, or several, as text or as a list: from here on as text without spaces."""
    if codes is None:
        return None
    several = codes if isinstance(codes, list | tuple) else [codes]
    if any(isinstance(each, bool) or not isinstance(each, int | str) for each in several):
        raise invalid("expect_status", "it is neither a status code nor a list of them", LIKE_CODES)
    text = ",".join("".join(str(each).split()) for each in several)
    if len(text) > PATH_MAX:
        raise invalid("expect_status", f"it has {len(text)} characters", LIKE_CODES)
    parse_status_codes(text)
    return text


def check_address(address: str | None) -> str | None:
    if address is not None and ip_version(address) is None:
        raise invalid("source_address", "it is not an IP address", OWN_ADDRESS)
    parsed = ipaddress.ip_address(address) if address is not None else None
    if parsed is not None and (parsed.is_multicast or parsed.is_unspecified):
        raise invalid("source_address", "no host has this address for itself", OWN_ADDRESS)
    return address


def check_target(auth_url: str) -> str:
    host = parse_auth_url(auth_url).host
    if ip_version(host) and ipaddress.ip_address(host).is_unspecified:
        remedy = "Give the address of the VIM; 127.0.0.1 or [::1] is the executor's own host"
        raise InvalidInput("auth_url", f"{host} is no address of a VIM", remedy=remedy)
    return auth_url


def check_path(path: str | None, info: ValidationInfo) -> str | None:
    """Whether there is such a file is known on the executor's host alone."""
    if path is not None and not (path.startswith("/") and path.isprintable() and len(path) <= PATH_MAX):
        raise invalid(str(info.field_name), "it is not an absolute path", "Name a file on the executors' hosts")
    return path


def check_server_name(name: str | None) -> str | None:
    if name is None:
        return name
    if "%" in name:
        raise invalid("server_name", "it has a zone, which no certificate has", "Leave out the % and what follows")
    if len(name) > HOST_MAX:
        raise invalid("server_name", f"it has {len(name)} characters", f"Give at most {HOST_MAX}")
    if ip_version(name) or all(HOST_LABEL.fullmatch(label) for label in name.split(".")):
        return name
    raise invalid("server_name", "it is neither a name nor an address", "Give the name in the certificate")


def check_proxy(proxy: str | None) -> str | None:
    """http://HOST[:PORT]. A password is refused without being repeated."""
    if proxy is None:
        return None
    try:
        target = parse_auth_url(proxy)
    except InvalidInput as error:
        raise invalid("proxy", str(error).removeprefix("auth_url: "), LIKE_PROXY) from None
    if target.scheme != "http" or target.path not in ("", "/"):
        raise invalid("proxy", "it is not http:// with a host and a port, and no more", LIKE_PROXY)
    return proxy


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
