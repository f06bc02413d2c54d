"""What https probes say of certificates and handshakes that are not as they should be."""

import asyncio
import contextlib
import datetime
import fcntl
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.authority import NOW, Authority
from tests.support.polling import eventually, until
from tests.support.servers import (
    DOWN,
    UNKNOWN,
    UP,
    VERSIONS,
    Handler,
    Web,
    check,
    hang_up,
    keystone,
    new_prober,
    serving,
    silence,
)
from vimmon.actions.probing import Prober, connection, handshakes, tls, tls_files, wire
from vimmon.actions.probing.deadline import Deadline
from vimmon.actions.probing.handshakes import Handshakes
from vimmon.probes import HttpProbe, Outcome, Trace
from vimmon.vim import VimStatus

DAY = datetime.timedelta(days=1)
BAD_PEM = "the client certificate or its key is not in PEM form, or needs a password"
TODAY = NOW.date()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """One that this host trusts, and no other."""
    authority = Authority(tmp_path, "trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    return authority


class Clock:
    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s

    def pass_a_look(self) -> None:
        """Until files are looked at again."""
        self.ahead_s += tls.LOOK_AFTER_S


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def prober(authority: Authority, clock: Clock) -> AsyncIterator[Prober]:
    async with new_prober(clock=clock) as prober:
        yield prober


@pytest.mark.parametrize("host", ["vim.test", "vim.test.", "127.0.0.1"])
async def test_a_good_certificate_is_good(prober: Prober, authority: Authority, host: str) -> None:
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        check(await prober.probe(keystone(port, host=host, scheme="https")), UP, "HTTP 300")


@pytest.mark.parametrize(
    ("host", "days", "reason"),
    [
        ("vim.test", (-9, -1), f"certificate expired on {TODAY - DAY}"),
        ("vim.test", (1, 9), "certificate not valid yet"),
        ("other.test", (-1, 1), "certificate is for another name"),
    ],
)
async def test_what_is_wrong_with_a_certificate_is_said(
    prober: Prober, authority: Authority, host: str, days: tuple[int, int], reason: str
) -> None:
    async with serving(Web(300, VERSIONS), tls=authority.server(days=days)) as port:
        check(await prober.probe(keystone(port, host=host, scheme="https")), DOWN, reason)


async def test_a_certificate_for_another_address_is_for_another_name(prober: Prober, authority: Authority) -> None:
    async with serving(Web(300, VERSIONS), host="127.0.0.2", tls=authority.server()) as port:
        probe = keystone(port, host="127.0.0.2", scheme="https")
        check(await prober.probe(probe), DOWN, "certificate is for another name")


async def test_a_certificate_of_an_unknown_authority_is_not_trusted(prober: Prober, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    async with serving(Web(300, VERSIONS), tls=stranger.server()) as port:
        check(await prober.probe(keystone(port, scheme="https")), DOWN, "certificate not trusted")


@pytest.mark.parametrize(
    ("handler", "timeout_s", "reason"),
    [
        (hang_up, 5, "connection closed in the TLS handshake"),
        (silence, 0.2, "no answer within 0.2 s"),
    ],
)
async def test_a_server_that_does_not_finish_the_handshake_is_unreachable(
    prober: Prober, handler: Handler, timeout_s: float, reason: str
) -> None:
    async with serving(handler) as port:
        check(await prober.probe(keystone(port, scheme="https", s=timeout_s)), DOWN, reason)


async def test_https_to_a_plain_port_says_that_it_does_not_speak_tls(prober: Prober) -> None:
    async def complain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with serving(complain) as port:
        check(await prober.probe(keystone(port, scheme="https")), DOWN, "the port does not speak TLS")


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


# Settings


@contextlib.contextmanager
def shaking_hands(context: ssl.SSLContext, *, patience_s: float | None = None, answer: bytes = b"") -> Iterator[int]:
    """The port of a server that makes TLS handshakes, or tries to, one after the other, and says no more than that."""

    def serve() -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                connection, _ = server.accept()
                connection.settimeout(patience_s)
                with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(4096)
                    secured.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextlib.contextmanager
def refusing_clients(context: ssl.SSLContext) -> Iterator[int]:
    """The port of a server that says why it refuses, and then lets the client close: else a reset may swallow that."""

    def serve() -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                connection, _ = server.accept()
                with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secured:
                    with contextlib.suppress(ssl.SSLError):
                        secured.do_handshake()
                    while socket.socket.recv(secured, 4096):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def secure(port: int, host: str = "127.0.0.1", **settings: Any) -> HttpProbe:
    chosen = {"auth_url": f"https://{host}:{port}", "preset": "keystone", **settings}
    for name in chosen.keys() & {"ca_file", "client_cert_file", "client_key_file"}:
        chosen[name] = str(chosen[name])
    return HttpProbe.model_validate(chosen)


async def test_a_ca_file_is_trusted_instead_of_the_hosts_own(
    prober: Prober, authority: Authority, tmp_path: Path
) -> None:
    private = Authority(tmp_path, "private")
    async with serving(Web(300, VERSIONS), tls=private.server()) as port:
        check(await prober.probe(secure(port, ca_file=private.file)), UP, "HTTP 300")
        check(await prober.probe(secure(port, ca_file=authority.file)), DOWN, "certificate not trusted")
        check(await prober.probe(secure(port)), DOWN, "certificate not trusted")


async def test_a_file_that_changes_is_read_again(
    prober: Prober, authority: Authority, clock: Clock, tmp_path: Path
) -> None:
    private = Authority(tmp_path, "private")
    async with serving(Web(300, VERSIONS), tls=private.server()) as port:
        probe = secure(port, ca_file=tmp_path / "ca.pem")
        missing = f"cannot probe: ca_file: no such file or directory ({tmp_path}/ca.pem)"
        check(await prober.probe(probe), UNKNOWN, missing)
        (tmp_path / "ca.pem").write_bytes(authority.file.read_bytes())
        clock.pass_a_look()
        check(await prober.probe(probe), DOWN, "certificate not trusted")
        (tmp_path / "new.pem").write_bytes(private.file.read_bytes())
        os.replace(tmp_path / "new.pem", tmp_path / "ca.pem")
        clock.pass_a_look()
        check(await prober.probe(probe), UP, "HTTP 300")


async def test_a_file_that_could_not_be_read_for_a_moment_is_read_again(
    prober: Prober, authority: Authority, clock: Clock
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        probe = secure(port, ca_file=authority.file)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            reason = f"cannot probe: ca_file: too many open files ({authority.file})"
            check(await prober.probe(probe), UNKNOWN, reason)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        check(await prober.probe(probe), UNKNOWN, reason)
        clock.pass_a_look()
        check(await prober.probe(probe), UP, "HTTP 300")


async def test_new_permissions_of_a_file_are_a_change(prober: Prober, authority: Authority, clock: Clock) -> None:
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        probe = secure(port, ca_file=authority.file)
        check(await prober.probe(probe), UP, "HTTP 300")
        [before] = [made for how, (made, _) in prober._shared.contexts._made.items() if how.ca_file]
        authority.file.chmod(0o640)
        clock.pass_a_look()
        check(await prober.probe(probe), UP, "HTTP 300")
        [after] = [made for how, (made, _) in prober._shared.contexts._made.items() if how.ca_file]
    assert after.context is not before.context


@contextlib.contextmanager
def hanging(file: Path) -> Iterator[None]:
    """Whoever opens the file inside is kept waiting, as by a network file system whose server is gone."""
    with file.open("rb+") as held:
        fcntl.fcntl(held, fcntl.F_SETSIG, signal.SIGURG)  # what tells of it is ignored
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        try:
            yield
        finally:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file", "client_key_file"])
async def test_a_file_that_cannot_be_read_in_time_holds_up_nobody_else(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setattr(tls, "READING_S", 0.8)
    certificate, key = authority.sign("client")
    files: dict[str, Any] = {"ca_file": authority.file, "client_cert_file": certificate, "client_key_file": key}
    reason = f"cannot probe: reading {setting} takes too long ({files[setting]})"
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        probe = secure(port, timeout_s=0.2, **files)
        with hanging(files[setting]):
            held_up = asyncio.ensure_future(prober.probe(probe))
            check(await prober.probe(secure(port, verify=False)), UP, "HTTP 300")
            assert not held_up.done()
            check(await held_up, UNKNOWN, reason)
            check(await prober.probe(probe), UNKNOWN, reason)
            assert sum(each.name == "vimmon-tls-files" for each in threading.enumerate()) == 1
        await eventually(lambda: not prober._shared.contexts._readings)
        check(await prober.probe(probe), UP, "HTTP 300")


async def test_no_more_files_are_read_at_once_than_allowed(
    prober: Prober, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "READING_S", 0.1)
    monkeypatch.setattr(tls, "READING_MAX", 1)
    with hanging(authority.file):
        assert (await prober.probe(secure(1, ca_file=authority.file))).status == UNKNOWN
        reason = "cannot probe: reading the files of TLS takes too long, for 1 probes"
        check(await prober.probe(secure(1, verify=False)), UNKNOWN, reason)
    await eventually(lambda: not prober._shared.contexts._readings)
    monkeypatch.undo()
    check(await prober.probe(secure(1, verify=False)), DOWN, "connection refused")


async def test_without_a_thread_to_read_files_nothing_is_said_of_the_vim(
    prober: Prober, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        reason = "cannot probe: no thread can be started to read the files of TLS"
        check(await prober.probe(secure(1, verify=False)), UNKNOWN, reason)
    check(await prober.probe(secure(1, verify=False)), DOWN, "connection refused")


async def test_a_bug_in_reading_files_escapes_to_the_probe(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(tls, "look", broken)
        with pytest.raises(ZeroDivisionError):
            await prober.probe(secure(1, verify=False))
    check(await prober.probe(secure(1, verify=False)), DOWN, "connection refused")


async def test_no_more_contexts_are_kept_than_allowed_and_the_latest_are(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "CONTEXTS_MAX", 2)
    probes = {"none": secure(1, verify=False), "own": secure(1), "ca": secure(1, ca_file=authority.file)}
    for name in ("none", "own", "none", "ca"):
        check(await prober.probe(probes[name]), DOWN, "connection refused")
        clock.pass_a_look()
    kept = [(how.verify, how.ca_file) for how in prober._shared.contexts._made]
    assert kept == [(False, None), (True, str(authority.file))]


def test_files_that_are_read_when_nobody_waits_any_more_are_no_error(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)

    async def begin() -> None:
        contexts = tls.TlsContexts(time.monotonic)
        reading = asyncio.ensure_future(contexts.of(secure(1, ca_file=authority.file)))
        await eventually(lambda: contexts._readings)
        reading.cancel()

    with hanging(authority.file):
        asyncio.run(begin())
    until(lambda: not any(each.name == "vimmon-tls-files" for each in threading.enumerate()))
    assert errors == []


async def test_the_time_to_read_files_does_not_count_against_the_vim(prober: Prober, authority: Authority) -> None:
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        with hanging(authority.file):
            held_up = asyncio.ensure_future(prober.probe(secure(port, ca_file=authority.file, timeout_s=1)))
            await asyncio.sleep(1.2)
        outcome = await held_up
    check(outcome, UP, "HTTP 300")
    assert outcome.rtt_ms is not None
    assert 0 < outcome.rtt_ms < 1000


async def test_what_was_read_stays_in_use_when_its_file_hangs(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "READING_S", 0.1)
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        probe = secure(port, ca_file=authority.file)
        check(await prober.probe(probe), UP, "HTTP 300")
        os.utime(authority.file, (0, 0))
        clock.pass_a_look()
        with hanging(authority.file):
            check(await prober.probe(probe), UP, "HTTP 300")
            assert prober._shared.contexts._readings
        await eventually(lambda: not prober._shared.contexts._readings)


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file", "client_key_file"])
async def test_what_is_no_regular_file_is_not_opened(
    prober: Prober, authority: Authority, tmp_path: Path, setting: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    files: dict[str, Any] = {"client_cert_file": authority.file, setting: tmp_path / "pipe"}
    reason = f"cannot probe: {setting} is not a regular file ({tmp_path}/pipe)"
    check(await prober.probe(secure(1, **files)), UNKNOWN, reason)


async def test_files_are_looked_at_in_threads_and_not_at_every_probe(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    stat = os.stat

    def note(file: str, **settings: Any) -> os.stat_result:
        if file == str(authority.file):
            threads.append(threading.current_thread())
        return stat(file, **settings)

    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        probe = secure(port, ca_file=authority.file)
        check(await prober.probe(probe), UP, "HTTP 300")
        monkeypatch.setattr(os, "stat", note)
        for _ in range(3):
            check(await prober.probe(probe), UP, "HTTP 300")
        assert not threads
        clock.pass_a_look()
        for _ in range(3):
            check(await prober.probe(probe), UP, "HTTP 300")
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_the_hosts_own_cas_are_read_again_when_they_change(
    prober: Prober, authority: Authority, clock: Clock, tmp_path: Path
) -> None:
    new = Authority(tmp_path, "new")
    async with serving(Web(300, VERSIONS), tls=new.server()) as port:
        check(await prober.probe(secure(port)), DOWN, "certificate not trusted")
        os.replace(new.file, authority.file)
        clock.pass_a_look()
        check(await prober.probe(secure(port)), UP, "HTTP 300")


async def test_a_context_is_made_once_for_all_probes_with_the_same_files(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = tls_files._context

    def count(how: tls_files.How, note: tls_files.Note) -> ssl.SSLContext | Outcome:
        made.append(how)
        return make(how, note)

    monkeypatch.setattr(tls_files, "_context", count)
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        for _ in range(3):
            check(await prober.probe(secure(port)), UP, "HTTP 300")
            check(await prober.probe(secure(port, ca_file=authority.file)), UP, "HTTP 300")
            clock.pass_a_look()
    assert len(made) == 2


@pytest.mark.parametrize("separate", [True, False])
async def test_a_client_certificate_is_shown(
    prober: Prober, authority: Authority, tmp_path: Path, separate: bool
) -> None:
    certificate, key = authority.sign("client")
    if not separate:
        certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    files: dict[str, Any] = {"client_cert_file": certificate} | ({"client_key_file": key} if separate else {})
    async with serving(Web(300, VERSIONS), tls=authority.server(clients=authority)) as port:
        check(await prober.probe(secure(port, **files)), UP, "HTTP 300")


async def test_what_a_server_says_of_the_client_certificate_after_the_handshake_is_told(
    prober: Prober, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = Authority(tmp_path, "stranger").sign("client")
    stranger: dict[str, Any] = {"client_cert_file": certificate, "client_key_file": key}
    with refusing_clients(authority.server(clients=authority)) as port:
        for settings, said in (({}, "tlsv13 alert certificate required"), (stranger, "tlsv1 alert unknown ca")):
            outcome = await prober.probe(secure(port, ca_file=authority.file, **settings))
            check(outcome, DOWN, f"refused after the TLS handshake: {said}")


async def test_that_the_client_certificate_was_revoked_is_told_in_the_servers_words(
    prober: Prober, authority: Authority
) -> None:
    certificate, key = authority.sign("client")
    context = authority.server(clients=authority)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    context.load_verify_locations(authority.revoke(certificate))
    mine: dict[str, Any] = {"client_cert_file": certificate, "client_key_file": key, "ca_file": authority.file}
    with refusing_clients(context) as port:
        said = "refused after the TLS handshake: sslv3 alert certificate revoked"
        check(await prober.probe(secure(port, **mine)), DOWN, said)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        said = "TLS handshake failed: sslv3 alert certificate revoked"
        check(await prober.probe(secure(port, **mine)), DOWN, said)


async def test_a_server_that_wants_another_client_certificate_is_quoted(
    prober: Prober, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = Authority(tmp_path, "stranger").sign("client")
    stranger: dict[str, Any] = {"client_cert_file": certificate, "client_key_file": key}
    context = authority.server(clients=authority)
    with shaking_hands(context) as port:  # an asyncio server does not say why it refuses
        for settings in ({}, stranger):  # TLS 1.3: after the handshake, and a reset may swallow what is said
            outcome = await prober.probe(secure(port, **settings))
            assert outcome.status == DOWN
            assert outcome.reason.startswith(("connection closed before an answer", "refused after the TLS handshake"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        check(await prober.probe(secure(port)), DOWN, "TLS handshake failed: sslv3 alert handshake failure")
        check(await prober.probe(secure(port, **stranger)), DOWN, "TLS handshake failed: tlsv1 alert unknown ca")


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


async def test_a_ca_file_without_certificates_is_the_probers_trouble(prober: Prober, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    reason = f"cannot probe: ca_file holds no certificate in PEM form ({tmp_path}/ca.pem)"
    check(await prober.probe(secure(1, ca_file=tmp_path / "ca.pem")), UNKNOWN, reason)


async def test_the_server_name_is_asked_for_and_verified_instead_of_the_urls(
    prober: Prober, authority: Authority
) -> None:
    asked = []
    context = authority.server()
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with serving(Web(300, VERSIONS), tls=context) as port:
        check(await prober.probe(secure(port, "other.test", server_name="vim.test")), UP, "HTTP 300")
        check(await prober.probe(secure(port, "other.test")), DOWN, "certificate is for another name")
    assert asked == ["vim.test", "other.test"]


async def test_without_verification_any_certificate_will_do_and_its_end_is_told(prober: Prober, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    async with serving(Web(300, VERSIONS), tls=stranger.server(days=(-9, -3))) as port:
        outcome = await prober.probe(secure(port, "other.test", verify=False))
    check(outcome, UP, "HTTP 300")
    assert outcome.certificate_expires_at is not None
    assert outcome.certificate_expires_at.date() == TODAY - 3 * DAY


# When it expires


@pytest.mark.parametrize(("answer", "status"), [(Web(300, VERSIONS), UP), (Web(503), DOWN)])
async def test_the_end_of_a_certificate_is_kept_whatever_the_answer(
    prober: Prober, authority: Authority, answer: Web, status: VimStatus
) -> None:
    async with serving(answer, tls=authority.server(days=(-1, 40))) as port:
        outcome = await prober.probe(secure(port))
    assert outcome.status == status
    assert outcome.certificate_expires_at is not None
    assert outcome.certificate_expires_at.date() == TODAY + 40 * DAY


async def test_the_end_of_an_expired_certificate_is_kept_as_well(prober: Prober, authority: Authority) -> None:
    async with serving(Web(300, VERSIONS), tls=authority.server(days=(-9, -3))) as port:
        outcome = await prober.probe(secure(port))
    check(outcome, DOWN, f"certificate expired on {TODAY - 3 * DAY}")
    assert outcome.certificate_expires_at is not None
    assert outcome.certificate_expires_at.date() == TODAY - 3 * DAY


async def test_an_expired_authority_is_not_taken_for_an_expired_certificate(prober: Prober, tmp_path: Path) -> None:
    old = Authority(tmp_path, "old", days=(-9, -3))
    async with serving(Web(300, VERSIONS), tls=old.server()) as port:
        check(await prober.probe(secure(port, ca_file=old.file)), DOWN, "a certificate in its chain expired")


async def test_an_expired_certificate_is_told_even_when_the_second_look_at_it_gets_no_answer(
    prober: Prober, authority: Authority
) -> None:
    times = 0
    expired = authority.server(days=(-9, -3))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal times
        times += 1
        if times > 1:
            await reader.read()
        else:
            await writer.start_tls(expired)

    async with serving(handle) as port:
        check(await prober.probe(secure(port, timeout_s=0.3)), DOWN, "certificate expired")
    assert times == 2


@pytest.mark.parametrize("listens", [True, False], ids=["hangs up", "refuses"])
async def test_an_expired_certificate_is_told_even_when_there_is_no_second_look_at_it(
    prober: Prober, authority: Authority, listens: bool
) -> None:
    expired, first = authority.server(days=(-9, -3)), True

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        if first:
            first = False
            if not listens:
                server.close()
            await writer.start_tls(expired)
        writer.close()

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await handle(reader, writer)

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        check(await prober.probe(secure(port, timeout_s=5)), DOWN, "certificate expired")
    assert not first


async def test_an_expired_certificate_whose_date_cannot_be_read_is_expired_all_the_same(
    prober: Prober, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "expires_at", lambda _: None)
    async with serving(Web(300, VERSIONS), tls=authority.server(days=(-9, -3))) as port:
        check(await prober.probe(secure(port)), DOWN, "certificate expired")


@contextlib.contextmanager
def noting_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """Those that probes make inside. They are kept, so that nobody closes them by forgetting them."""
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(wire, "socket", SimpleNamespace(socket=Noted, SOCK_STREAM=socket.SOCK_STREAM))
        yield made


async def test_the_second_look_at_a_certificate_leaves_no_connection(
    prober: Prober, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with noting_sockets(monkeypatch) as made, shaking_hands(authority.server(days=(-9, -3))) as port:
        check(await prober.probe(secure(port)), DOWN, f"certificate expired on {TODAY - 3 * DAY}")
        assert len(made) == 2
        await eventually(lambda: [each.fileno() for each in made] == [-1, -1], within_s=5)


async def test_a_server_that_does_not_say_goodbye_is_not_waited_for(
    prober: Prober, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TLS_SHUTDOWN_S", 0.1)
    over = asyncio.Event()

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Web(300, VERSIONS)(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # it hears no goodbye
        await over.wait()

    with noting_sockets(monkeypatch) as made:
        async with serving(stay, tls=authority.server()) as port:
            check(await prober.probe(secure(port)), UP, "HTTP 300")
            await eventually(lambda: [each.fileno() for each in made] == [-1], within_s=5)
            over.set()


# Turns


async def test_waiting_for_a_handshakes_turn_does_not_count_against_the_vim(authority: Authority) -> None:
    async with (
        new_prober(handshakes=1) as prober,
        serving(silence) as silent,
        serving(Web(300, VERSIONS), tls=authority.server()) as good,
    ):
        slow = asyncio.ensure_future(prober.probe(secure(silent, timeout_s=2)))
        await eventually(lambda: prober._shared.handshakes.running == 1)
        trace = Trace()
        quick = asyncio.ensure_future(prober.probe(secure(good, timeout_s=1), trace))
        await eventually(lambda: prober.waiting == 1)
        check(await slow, DOWN, "no answer within 2 s")
        outcome = await quick
        check(outcome, UP, "HTTP 300")
        assert outcome.rtt_ms is not None
        assert 0 < outcome.rtt_ms < 1000
        assert trace.tls_ms is not None
        assert trace.tls_ms < 1000
        assert prober.waiting == 0


async def test_a_probe_cancelled_while_it_waits_for_a_handshakes_turn_leaves_it_to_others(authority: Authority) -> None:
    async with (
        new_prober(handshakes=1) as prober,
        serving(silence) as silent,
        serving(Web(300, VERSIONS), tls=authority.server()) as good,
    ):
        slow = asyncio.ensure_future(prober.probe(secure(silent, timeout_s=5)))
        await eventually(lambda: prober._shared.handshakes.running == 1)
        waiting = [asyncio.ensure_future(prober.probe(secure(good))) for _ in range(2)]
        await eventually(lambda: prober.waiting == 2)
        waiting[0].cancel()
        slow.cancel()
        check(await waiting[1], UP, "HTTP 300")
        await asyncio.gather(slow, waiting[0], return_exceptions=True)
        assert prober._shared.handshakes.running == 0


async def test_who_waits_for_a_turn_keeps_no_connection_open_meanwhile(authority: Authority) -> None:
    closed = asyncio.Event()

    async def note(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        closed.set()

    async with new_prober(handshakes=1) as prober, serving(silence) as silent, serving(note) as port:
        first = asyncio.ensure_future(prober.probe(secure(silent, timeout_s=30)))
        await eventually(lambda: prober._shared.handshakes.running == 1)
        second = asyncio.ensure_future(prober.probe(secure(port)))
        await asyncio.wait_for(closed.wait(), 5)
        assert prober.waiting == 1
        for task in (second, first):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def test_a_server_that_closes_idle_connections_is_reached_after_waiting_for_a_turn(authority: Authority) -> None:
    answer = b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"
    async with new_prober(handshakes=1) as prober, serving(silence) as silent:
        with shaking_hands(authority.server(), patience_s=0.2, answer=answer) as good:
            check(await prober.probe(secure(good)), UP, "HTTP 401")
            slow = asyncio.ensure_future(prober.probe(secure(silent, timeout_s=0.45)))
            await eventually(lambda: prober._shared.handshakes.running == 1)
            quick = asyncio.ensure_future(prober.probe(secure(good)))
            await eventually(lambda: prober.waiting == 1)
            check(await quick, UP, "HTTP 401")
            check(await slow, DOWN, "no answer within 0.45 s")


async def test_vims_that_hang_in_the_handshake_keep_nobody_else_waiting(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "QUICK_S", 0.05)
    async with (
        new_prober(handshakes=4) as prober,
        serving(silence) as silent,
        serving(Web(300, VERSIONS), tls=authority.server()) as good,
    ):
        hanging = [asyncio.ensure_future(prober.probe(secure(silent, timeout_s=30))) for _ in range(16)]
        await eventually(lambda: prober._shared.handshakes.running + prober.waiting == 16)
        async with asyncio.timeout(10):
            check(await prober.probe(secure(good)), UP, "HTTP 300")
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        assert prober._shared.handshakes.running == 0


async def test_no_more_handshakes_run_than_the_lanes_have_turns(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "QUICK_S", 0.01)
    async with new_prober(handshakes=1) as prober, serving(silence) as silent:
        hanging = [asyncio.ensure_future(prober.probe(secure(silent, timeout_s=0.5))) for _ in range(8)]
        turns = prober._shared.handshakes
        await eventually(lambda: (turns.quick.running, turns.slow.running, prober.waiting) == (1, 4, 3))
        for outcome in await asyncio.gather(*hanging):
            check(outcome, DOWN, "no answer within 0.5 s")
        assert turns.running == 0


async def test_a_server_whose_last_handshake_was_slow_begins_among_the_slow_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshakes, "QUICK_S", 0.01)
    turns = Handshakes(1)
    for was_quick, lane in ((False, turns.slow), (True, turns.quick)):
        turns.learn("https://vim.test", was_quick=was_quick)
        turn = turns.turn("https://vim.test")
        assert turn.take_now()
        assert lane.running == turns.running == 1
        with turn:
            pass
        await asyncio.sleep(0.02)  # when it would have moved, had it not ended
        assert (turns.quick.running, turns.slow.running) == (0, 0)


async def test_a_slow_turn_goes_first_to_whoever_keeps_a_quick_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "QUICK_S", 0.01)
    turns = Handshakes(1)
    turns.learn("slow", was_quick=False)
    running = [turns.turn("slow") for _ in range(4)]
    assert all(turn.take_now() for turn in running)
    known = asyncio.create_task(turns.turn("slow").take())
    keeps, gone = turns.turn("new"), turns.turn("new")
    for turn in (gone, keeps):  # the first has ended before it could move
        assert turn.take_now()
        with turn:
            await eventually(lambda: turns.moving)
            if turn is keeps:
                with running.pop():
                    pass
                assert (turns.quick.running, turns.slow.running, known.done()) == (0, 4, False)
        assert turns.quick.running == 0
    await known
    assert turns.slow.running == 4


async def test_a_handshake_that_is_slow_is_remembered(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "QUICK_S", 0.05)
    async with new_prober() as prober, serving(silence) as silent:
        probe = secure(silent, timeout_s=0.1)
        check(await prober.probe(probe), DOWN, "no answer within 0.1 s")
        monkeypatch.setattr(handshakes, "QUICK_S", 60)
        again = asyncio.ensure_future(prober.probe(probe))
        turns = prober._shared.handshakes
        await eventually(lambda: turns.running)
        assert (turns.quick.running, turns.slow.running) == (0, 1)
        await again


# When this process is late


async def test_a_handshake_in_which_this_process_was_held_up_is_finished(authority: Authority) -> None:
    answer = b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"
    async with new_prober() as prober:
        with shaking_hands(authority.server(), answer=answer) as port:
            probe = secure(port, timeout_s=0.4)
            check(await prober.probe(probe), UP, "HTTP 401")
            probing = asyncio.ensure_future(prober.probe(probe))
            while not prober._shared.handshakes.running:  # noqa: ASYNC110 - in the very turn in which it begins
                await asyncio.sleep(0)
            time.sleep(0.8)  # noqa: ASYNC251 - the loop is late
            check(await probing, UP, "HTTP 401")


async def test_the_time_that_was_lost_is_given_again_once() -> None:
    async def be_held_up() -> None:
        async with Deadline(asyncio.get_running_loop().time() + 0.05):
            for held_up_s in (0.25, 0.4, 0.4):  # 0.2 s late, again and again
                time.sleep(held_up_s)  # noqa: ASYNC251 - the loop is late
                for _ in range(20):
                    await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        await be_held_up()
