"""What `VIMMON_REDIS_URL` says, read for both sides: the conductor's blocking client and the executor's asyncio one.

Redis's certificate is always checked, and so are the files that a URL names: before anything is connected.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.connection import parse_url, to_bool
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from vimmon.errors import RedisUnreachable, SettingsError

DEFAULT_SENTINEL_PORT = 26379
TLS_FILES = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})
TLS = TLS_FILES | {"ssl_check_hostname"}
OPTIONS = frozenset({"db", "username", "password", "protocol", "health_check_interval", "socket_keepalive"})
ONE = ("redis", "rediss", "unix")
SENTINEL = ("redis+sentinel", "rediss+sentinel")
SERVICE = re.compile(r"[A-Za-z0-9._-]+")  # as Sentinel itself wants it
DATABASE = re.compile(r"/?[0-9]*")
AUTHORITY_END = re.compile(r"[/?#]")
LIKE_ONE = "Write it like redis://127.0.0.1:6379/0"
LIKE_SENTINEL = "Write it like redis+sentinel://host1:26379,host2:26379/mymaster/0"

# How OpenSSL says it, and what to do about it; the first one that fits.
TLS_REMEDIES = (
    (
        ("Hostname mismatch", "IP address mismatch"),
        "Name Redis in VIMMON_REDIS_URL as its certificate does, or give it a certificate for that name",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED",),
        "Name the authority of Redis's certificate in VIMMON_REDIS_URL: rediss://HOST:PORT/0?ssl_ca_certs=/path/to/ca.pem",
    ),
    (
        ("ALERT_CERTIFICATE_REQUIRED", "ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "EOF occurred in violation"),
        "Redis wants a client certificate that it trusts: ssl_certfile and ssl_keyfile in VIMMON_REDIS_URL",
    ),
)


@dataclass(frozen=True)
class SentinelPlace:
    """`redis[s]+sentinel://[user:password@]host:port,host:port/service[/db]`; `tls` is for both kinds."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int
    username: str | None
    password: str | None = field(repr=False)
    tls: Mapping[str, Any] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """How the master that the Sentinels name is to be connected to."""
        return {"db": self.db, "username": self.username, "password": self.password, **self.tls}


def parse_redis_url(url: str) -> SentinelPlace | str:
    """The Sentinels to ask, or the URL itself where it names one Redis. Raises SettingsError; never repeats the URL."""
    scheme = url.partition("://")[0]
    if scheme not in (*ONE, *SENTINEL):
        raise _refuse(f"begins with none of {', '.join(f'{known}://' for known in (*ONE, *SENTINEL))}", LIKE_ONE)
    query = _read_query(url, LIKE_SENTINEL if scheme in SENTINEL else LIKE_ONE)
    _check_options(scheme, query)
    place = _parse_sentinels(url, query) if scheme in SENTINEL else _parse_one(url)
    _check_files(query)
    return place


def remedy_of(trouble: Exception) -> str | None:
    """What to do about trouble with how Redis lets us in; None for any other."""
    if isinstance(trouble, AuthenticationError):
        return "Check user and password in VIMMON_REDIS_URL, and that Redis knows them: vimmon acl --help"
    if isinstance(trouble, NoPermissionError):
        return "Give this part a user of its kind, with the rules of this version: vimmon acl --help"
    return next((remedy for signs, remedy in TLS_REMEDIES if any(sign in str(trouble) for sign in signs)), None)


def redis_unreachable(trouble: RedisError) -> RedisUnreachable:
    """What Redis, or the way to it, said, as an error whose remedy fits it."""
    return RedisUnreachable(f"Redis cannot be reached: {trouble}", remedy=remedy_of(trouble) or "")


def _refuse(problem: str, remedy: str) -> SettingsError:
    return SettingsError(f"VIMMON_REDIS_URL: {problem}", remedy=remedy)


def _read_query(url: str, like: str) -> dict[str, str]:
    """The options. What cannot be one may be the rest of a password with a ? or a # in it."""
    try:
        _, parts = _split(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError:
        raise _refuse("it cannot be read", like) from None
    if parts.fragment or any(not value for _, value in pairs):
        raise _refuse("it cannot be read", f"{like}; in a password, write # as %23, ? as %3F, / as %2F, @ as %40")
    return dict(pairs)


def _check_options(scheme: str, query: Mapping[str, str]) -> None:
    if not scheme.startswith("rediss") and (useless := query.keys() & TLS):
        raise _refuse(f"{min(useless)} without TLS", f"Write rediss{scheme.removeprefix('redis')}://")
    known = TLS if scheme in SENTINEL else OPTIONS | TLS
    if query.keys() - known:
        raise _refuse("it has an unknown option", f"Leave it out; known are {', '.join(sorted(known))}")
    if query.get("protocol", "3") not in ("2", "3"):
        raise _refuse("its protocol is neither 2 nor 3", "Leave it out")


def _parse_one(url: str) -> str:
    try:
        parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        readable = False
    else:  # of what is no number, redis-py would make database 0
        readable = url.startswith("unix:") or DATABASE.fullmatch(urlsplit(url).path) is not None
    if not readable:
        raise _refuse("its port, database number or an option cannot be read", LIKE_ONE)
    return url


def _parse_sentinels(url: str, query: Mapping[str, str]) -> SentinelPlace:
    authority, parts = _split(url)
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    service, _, db = parts.path.strip("/").partition("/")
    tls: dict[str, Any] = {"ssl": True, **query} if parts.scheme == "rediss+sentinel" else {}
    try:
        sentinels = tuple(_host_and_port(host) for host in hosts.split(",") if host)
        number = int(db or 0)
        if "ssl_check_hostname" in tls:
            tls["ssl_check_hostname"] = bool(to_bool(tls["ssl_check_hostname"]))  # type: ignore[no-untyped-call]
    except ValueError:
        sentinels, number = (), 0
    if not sentinels or not SERVICE.fullmatch(service):
        raise _refuse("the Sentinels, the service or the database number cannot be read", LIKE_SENTINEL)
    return SentinelPlace(sentinels, service, number, unquote(username) or None, unquote(password) or None, tls)


def _split(url: str) -> tuple[str, SplitResult]:
    """The authority, and the rest. Newer Pythons split no URL of several hosts of which one is in brackets.

    Raises ValueError for one half of a pair of brackets.
    """
    scheme, _, rest = url.partition("://")
    authority = AUTHORITY_END.split(rest, maxsplit=1)[0]
    if ("[" in authority) != ("]" in authority):
        raise ValueError("half of an address")
    return authority, urlsplit(f"{scheme}://hosts{rest.removeprefix(authority)}")


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(text)
    return parts.hostname, parts.port or DEFAULT_SENTINEL_PORT


def _check_files(query: Mapping[str, str]) -> None:
    """That what is needed for TLS can be read and used: found at the start, and not at the first connection."""
    for option in TLS_FILES & query.keys():
        try:
            if option == "ssl_ca_path":
                os.listdir(query[option])
            else:
                Path(query[option]).open("rb").close()
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            why = (isinstance(error, OSError) and error.strerror) or "not the name of a file"
            raise _refuse(f"{option}: {why}", "Name a file (for ssl_ca_path a folder) that may be read") from None
    if "ssl_keyfile" in query and "ssl_certfile" not in query:
        raise _refuse("ssl_keyfile without ssl_certfile", "Name the certificate that the key belongs to")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if "ssl_ca_certs" in query:
            context.load_verify_locations(query["ssl_ca_certs"])
    except ssl.SSLError:
        raise _refuse("ssl_ca_certs: no certificate in it", "Name a file with certificates in PEM") from None
    try:
        if "ssl_certfile" in query:
            # A passphrase would be asked for at a terminal, by every process.
            context.load_cert_chain(query["ssl_certfile"], query.get("ssl_keyfile"), password=lambda: b"")
    except (ssl.SSLError, ValueError):
        raise _refuse(
            "ssl_certfile, ssl_keyfile: they do not fit together, are not PEM, or want a passphrase",
            "Name a certificate and its key, without a passphrase, in PEM",
        ) from None
