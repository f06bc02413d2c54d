"""What https probes say of certificates and handshakes that are not as they should be."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.securing import noting_sockets, secure
from tests.support.authority import NOW, Authority
from tests.support.polling import eventually
from tests.support.servers import (
    DOWN,
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
from vimmon.actions.probing import Prober, connection

DAY = datetime.timedelta(days=1)
TODAY = NOW.date()


@pytest.fixture
async def prober(authority: Authority) -> AsyncIterator[Prober]:
    async with new_prober() as prober:
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


# Settings


async def test_a_ca_file_is_trusted_instead_of_the_hosts_own(
    prober: Prober, authority: Authority, tmp_path: Path
) -> None:
    private = Authority(tmp_path, "private")
    async with serving(Web(300, VERSIONS), tls=private.server()) as port:
        check(await prober.probe(secure(port, ca_file=private.file)), UP, "HTTP 300")
        check(await prober.probe(secure(port, ca_file=authority.file)), DOWN, "certificate not trusted")
        check(await prober.probe(secure(port)), DOWN, "certificate not trusted")


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


# The end


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
