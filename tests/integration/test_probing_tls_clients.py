"""Client certificates: they are shown, and what a server says against one is told."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.securing import refusing_clients, secure, shaking_hands
from tests.support.authority import Authority
from tests.support.servers import DOWN, UP, VERSIONS, Web, check, new_prober, serving
from vimmon.actions.probing import Prober


@pytest.fixture
async def prober(authority: Authority) -> AsyncIterator[Prober]:
    async with new_prober() as prober:
        yield prober


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
