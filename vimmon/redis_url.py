"""What `VIMMON_REDIS_URL` says, read for both sides: the conductor's blocking client and the executor's asyncio one."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.connection import URL_QUERY_ARGUMENT_PARSERS, parse_url

from vimmon.errors import SettingsError

DEFAULT_SENTINEL_PORT = 26379
PLACE = frozenset({"host", "port", "db", "username", "password", "path", "connection_class"})
TLS = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
KNOWN_OPTIONS = PLACE | TLS | URL_QUERY_ARGUMENT_PARSERS.keys()


@dataclass(frozen=True)
class SentinelPlace:
    """`redis+sentinel://[user:password@]host:port,host:port/service[/db]`."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int
    username: str | None
    password: str | None = field(repr=False)

    def options(self) -> dict[str, Any]:
        """How the master that the Sentinels name is to be connected to."""
        return {"db": self.db, "username": self.username, "password": self.password}


def parse_redis_url(url: str) -> SentinelPlace | str:
    """The Sentinels to ask, or the URL itself where it names one Redis. Raises SettingsError; never repeats the URL."""
    scheme = url.partition("://")[0]
    if scheme in ("redis", "rediss", "unix"):
        try:
            options = parse_url(url)  # type: ignore[no-untyped-call]
        except ValueError:  # its text may repeat a password
            raise SettingsError(
                "VIMMON_REDIS_URL: its port, database number or an option cannot be read",
                remedy="Write it like redis://127.0.0.1:6379/0",
            ) from None
        if unknown := options.keys() - KNOWN_OPTIONS:
            raise SettingsError(
                f"VIMMON_REDIS_URL: unknown option {min(unknown)!r}", remedy="Leave it out: vimmon sets what it needs"
            )
        return url
    if scheme != "redis+sentinel":
        raise SettingsError(
            "VIMMON_REDIS_URL: begins with none of redis://, rediss://, unix://, redis+sentinel://",
            remedy="Write it like redis://127.0.0.1:6379/0",
        )
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    service, _, db = parts.path.strip("/").partition("/")
    try:
        sentinels = tuple(_host_and_port(host) for host in hosts.split(",") if host)
        number = int(db or 0)
    except ValueError:
        sentinels, number = (), 0
    if not sentinels or not service:
        raise SettingsError(
            "VIMMON_REDIS_URL: the Sentinels, the service or the database number cannot be read",
            remedy="Write it like redis+sentinel://host1:26379,host2:26379/mymaster/0",
        )
    return SentinelPlace(sentinels, service, number, unquote(username) or None, unquote(password) or None)


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(text)
    return parts.hostname, parts.port or DEFAULT_SENTINEL_PORT
