"""Files of TLS that cannot be used: each is named, with what is wrong, and the VIM is not blamed for it."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.securing import Clock, secure
from tests.support.authority import Authority
from tests.support.servers import UNKNOWN, UP, VERSIONS, Web, check, keystone, new_prober, serving
from vimmon.actions.probing import Prober

BAD_PEM = "the client certificate or its key is not in PEM form, or needs a password"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def prober(authority: Authority, clock: Clock) -> AsyncIterator[Prober]:
    async with new_prober(clock=clock) as prober:
        yield prober


async def test_without_ca_certificates_nothing_is_said_of_the_vim_until_there_are_some(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
        probe = keystone(port, scheme="https")
        reason = "cannot probe: this host has no CA certificates (package ca-certificates?)"
        check(await prober.probe(probe), UNKNOWN, reason)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        clock.pass_a_look()
        check(await prober.probe(probe), UP, "HTTP 300")


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file", "client_key_file"])
async def test_what_is_no_regular_file_is_not_opened(
    prober: Prober, authority: Authority, tmp_path: Path, setting: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    files: dict[str, Any] = {"client_cert_file": authority.file, setting: tmp_path / "pipe"}
    reason = f"cannot probe: {setting} is not a regular file ({tmp_path}/pipe)"
    check(await prober.probe(secure(1, **files)), UNKNOWN, reason)


async def test_a_ca_file_without_certificates_is_the_probers_trouble(prober: Prober, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    reason = f"cannot probe: ca_file holds no certificate in PEM form ({tmp_path}/ca.pem)"
    check(await prober.probe(secure(1, ca_file=tmp_path / "ca.pem")), UNKNOWN, reason)


@pytest.mark.parametrize(
    ("cert", "key", "reason"),
    [
        ("none.pem", None, "client_cert_file: no such file or directory ({}/none.pem)"),
        ("client.pem", "none.key", "client_key_file: no such file or directory ({}/none.key)"),
        ("client.pem", "other.key", "the client certificate and its key do not belong together ({}/client.pem)"),
        (
            "client.pem",
            None,
            f"{BAD_PEM} ({{}}/client.pem)",
        ),
        (
            "locked.pem",
            "locked.key",
            f"{BAD_PEM} ({{}}/locked.pem)",
        ),
    ],
)
async def test_a_client_certificate_that_cannot_be_used_is_the_probers_trouble(
    prober: Prober, authority: Authority, tmp_path: Path, cert: str, key: str | None, reason: str
) -> None:
    authority.sign("client")
    authority.sign("other")
    authority.sign("locked", password=b"secret")
    files: dict[str, Any] = {"client_cert_file": tmp_path / cert} | ({"client_key_file": tmp_path / key} if key else {})
    check(await prober.probe(secure(1, **files)), UNKNOWN, f"cannot probe: {reason.format(tmp_path)}"[:200])


AT_A_TERMINAL = """
import fcntl, sys, termios
from vimmon.actions.probing.tls_files import How, look
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
print(look(How(False, None, *sys.argv[1:]), None, lambda _: None).context.reason)
"""


def test_nobody_is_asked_for_a_keys_password(authority: Authority) -> None:
    certificate, key = authority.sign("locked", password=b"secret")
    screen, terminal = os.openpty()
    try:
        command = [sys.executable, "-c", AT_A_TERMINAL, str(certificate), str(key)]
        asked = subprocess.run(
            command, stdin=terminal, capture_output=True, text=True, start_new_session=True, timeout=20
        )
    finally:
        os.close(terminal)
        os.close(screen)
    assert asked.stdout.startswith(f"cannot probe: {BAD_PEM}"), asked.stderr
