"""What https probes say of certificates and handshakes that are not as they should be."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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
from vimmon.actions.probing import Prober

DAY = datetime.timedelta(days=1)


class Authority:
    """Makes certificates, and the file by which to trust them."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = self._build(self._name, self._key.public_key(), days=(-1, 1)).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server(self, *, days: tuple[int, int] = (-1, 1)) -> ssl.SSLContext:
        """A server's context whose certificate is for vim.test and 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vim.test")])
        names = [x509.DNSName("vim.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        signed = (
            self._build(subject, key.public_key(), days=days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        file = self._folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + signed.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context

    def _build(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, days: tuple[int, int]
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
        )


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """One that this host trusts, and no other."""
    authority = Authority(tmp_path, "trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    return authority


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
        ("vim.test", (-9, -1), f"certificate expired on {datetime.datetime.now(datetime.UTC).date() - DAY}"),
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
    ("handler", "reason"),
    [
        (hang_up, "connection closed in the TLS handshake"),
        (silence, "no answer within 0.2 s"),
    ],
)
async def test_a_server_that_does_not_finish_the_handshake_is_unreachable(
    prober: Prober, handler: Handler, reason: str
) -> None:
    async with serving(handler) as port:
        check(await prober.probe(keystone(port, scheme="https", s=0.2)), DOWN, reason)


async def test_https_to_a_plain_port_says_that_it_does_not_speak_tls(prober: Prober) -> None:
    async def complain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with serving(complain) as port:
        check(await prober.probe(keystone(port, scheme="https")), DOWN, "the port does not speak TLS")


async def test_without_ca_certificates_nothing_is_said_of_the_vim_until_there_are_some(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
        async with Prober() as prober:
            probe = keystone(port, scheme="https")
            reason = "cannot probe: this host has no CA certificates (package ca-certificates?)"
            check(await prober.probe(probe), UNKNOWN, reason)
            monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
            check(await prober.probe(probe), UP, "HTTP 300")
