"""A real Redis with access rules made by `vimmon acl`, and, where certificates are given, on TLS alone."""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import trustme
from redis import Redis
from typer.testing import CliRunner

from tests.support.services import redis_missing
from tests.support.strict import require
from vimmon.cli.app import app
from vimmon.embedded.process import ServerDidNotStart, free_port
from vimmon.embedded.redis import RedisServer

USERS = (("executor", "mistral-1"), ("executor", "mistral-2"), ("conductor",), ("server",), ("operator",))
ADMIN = "admin"  # the tests' own: looks after the rules and sees everything


# What docs/security.md advises.
ADVISED = (
    *("--proto-max-bulk-len", "1mb", "--client-query-buffer-limit", "8mb"),
    *("--maxmemory", "256mb", "--maxmemory-policy", "noeviction"),
)


class Certificates:
    """An authority, a server's certificate for 127.0.0.1, and a client's."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        authority = trustme.CA()
        self.authority = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.authority)
        self.server = self._issue(authority, folder / "server", "127.0.0.1")
        self.client = self._issue(authority, folder / "client", "vimmon@example.org")

    @staticmethod
    def _issue(authority: trustme.CA, stem: Path, name: str) -> tuple[Path, Path]:
        issued = authority.issue_cert(name)
        certificate, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    def server_options(self, port: int) -> tuple[str, ...]:
        """For redis-server: TLS alone, and only for clients with a certificate of this authority."""
        certificate, key = self.server
        return (
            *("--port", "0", "--tls-port", str(port), "--tls-auth-clients", "yes"),
            *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
            *("--tls-ca-cert-file", str(self.authority)),
        )

    def client_options(self) -> dict[str, str]:
        """For the URL of a client."""
        certificate, key = self.client
        return {"ssl_ca_certs": str(self.authority), "ssl_certfile": str(certificate), "ssl_keyfile": str(key)}


@dataclass(frozen=True)
class GuardedRedis:
    port: int
    passwords: dict[str, str]
    certificates: Certificates | None = None

    def url(self, user: str) -> str:
        scheme, options = "redis", {}
        if self.certificates is not None:
            scheme, options = "rediss", self.certificates.client_options()
        query = f"?{urlencode(options)}" if options else ""
        return f"{scheme}://{user}:{self.passwords[user]}@127.0.0.1:{self.port}/0{query}"

    def client(self, user: str) -> Redis:
        return Redis.from_url(self.url(user))

    def denied(self) -> list[str]:
        """What Redis has refused since last asked: `user: command or key`."""
        with self.client(ADMIN) as admin:
            entries = admin.acl_log()
            admin.acl_log_reset()
        return [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in entries]


def acl_line(*arguments: str, password: str) -> str:
    """What `vimmon acl` prints for the file."""
    ended = CliRunner().invoke(app, ["acl", *arguments, "--password-file", "-"], input=f"{password}\n")
    assert ended.exit_code == 0, ended.output
    return ended.stdout


@contextmanager
def guarded_redis(
    folder: Path, *, certificates: Certificates | None = None, users: Sequence[tuple[str, ...]] = USERS
) -> Iterator[GuardedRedis]:
    """Runs one with those users, in which nobody else is let in but the tests' administrator."""
    require(redis_missing())
    passwords = {f"vimmon-{'-'.join(user)}": secrets.token_hex(16) for user in users}
    lines = [acl_line(*user, password=password) for user, password in zip(users, passwords.values(), strict=True)]
    passwords[ADMIN] = secrets.token_hex(16)
    admin_hash = hashlib.sha256(passwords[ADMIN].encode()).hexdigest()
    rules = folder / "users.acl"
    rules.write_text(
        f"user default off resetpass ~* &* +@all\nuser {ADMIN} on #{admin_hash} ~* &* +@all\n" + "".join(lines)
    )
    port = free_port()
    options = certificates.server_options(port) if certificates else ()
    options = ("--aclfile", str(rules), *ADVISED, *options)
    server = RedisServer(folder / "redis", port=port, options=options)
    try:
        server.start()
    except ServerDidNotStart as trouble:
        if certificates is None or "TLS" not in str(trouble):
            raise
        require("this redis-server was built without TLS")
    try:
        yield GuardedRedis(port, passwords, certificates)
    finally:
        server.stop()
