"""What a prober decides without a network: how many files it needs, and when a certificate expires."""

import datetime
import resource
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.authority import Authority
from vimmon.actions.probing.certificates import expires_at
from vimmon.actions.probing.files import Plan, plan

ANY = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "planned"),
    [
        (1024, 524_288, Plan(6000, 2000, is_low=False)),
        (1024, ANY, Plan(6000, 2000, is_low=False)),
        (ANY, ANY, Plan(ANY, 2000, is_low=False)),
        (20_000, 20_000, Plan(20_000, 2000, is_low=False)),
        (1024, 4096, Plan(4096, 1365, is_low=True)),
        (1024, 1024, Plan(1024, 341, is_low=True)),
        (2, 2, Plan(2, 1, is_low=True)),
    ],
)
def test_the_limit_of_open_files_decides_how_many_probes_run_at_once(soft: int, hard: int, planned: Plan) -> None:
    assert plan(soft, hard) == planned


@pytest.mark.parametrize("year", [1999, 2049, 2050, 9999])
def test_the_end_of_a_certificate_is_read_whatever_its_form(year: int) -> None:
    end = datetime.datetime(year, 12, 31, 23, 59, 58, tzinfo=datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60)])
    made = x509.CertificateBuilder(name, name, key.public_key(), 2**150, end.replace(year=1990), end)
    assert expires_at(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)) == end


def test_what_is_not_a_whole_certificate_has_no_end(tmp_path: Path) -> None:
    file, _ = Authority(tmp_path, "authority").sign("any")
    der = x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(serialization.Encoding.DER)
    assert expires_at(der) is not None
    assert [expires_at(der[:length]) for length in range(len(der))] == [None] * len(der)
    assert expires_at(b"\x30\x80" + b"\0" * 40) is None
