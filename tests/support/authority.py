"""Makes certificates that tests need: good ones, expired ones, and those of an authority that nobody knows."""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC)  # the same in a whole run: midnight changes nothing


class Authority:
    """Makes certificates, and the file by which to trust them. Days count from NOW."""

    def __init__(self, folder: Path, name: str, *, days: tuple[int, int] = (-1, 1)) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = self._build(self._name, self._key.public_key(), days=days).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server(self, *, days: tuple[int, int] = (-1, 1), clients: "Authority | None" = None) -> ssl.SSLContext:
        """A server's context whose certificate is for vim.test and 127.0.0.1. It wants one of `clients`, if given."""
        certificate, key = self.sign("server", days=days)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.file)
        return context

    def sign(self, file: str, *, days: tuple[int, int] = (-1, 1), password: bytes = b"") -> tuple[Path, Path]:
        """The files of a new certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vim.test")])
        names = [x509.DNSName("vim.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        signed = (
            self._build(subject, key.public_key(), days=days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        certificate_file, key_file = self._folder / f"{file}.pem", self._folder / f"{file}.key"
        certificate_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked
        key_file.write_bytes(key.private_bytes(*form))
        return certificate_file, key_file

    def revoke(self, certificate: Path) -> Path:
        """The file of a list of revoked certificates, with this one in it."""
        number = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
        revoked = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(NOW).build()
        day = datetime.timedelta(days=1)
        revocations = x509.CertificateRevocationListBuilder(self._name, NOW - day, NOW + day, [], [revoked])
        file = self._folder / "revoked.pem"
        file.write_bytes(revocations.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return file

    def _build(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, days: tuple[int, int]
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + datetime.timedelta(days=days[0]))
            .not_valid_after(NOW + datetime.timedelta(days=days[1]))
        )
