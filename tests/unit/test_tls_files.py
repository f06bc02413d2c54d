"""What a TLS context is made from: which files are looked at, what makes it anew, and what is said of a bad one."""

import os
import shutil
import socket
import ssl
import stat
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.descriptors import no_more_files
from vimmon.actions.probing.tls_files import How, Made, look
from vimmon.probes import Outcome
from vimmon.vim import VimStatus


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "private")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a host's own CAs: `certs`, empty, and no `ca.pem` beside it."""
    (tmp_path / "certs").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "certs"))
    return tmp_path


def made(how: How, before: Made | None = None) -> Made:
    return look(how, before, lambda _: None)


def said(how: How) -> str:
    outcome = made(how).context
    assert isinstance(outcome, Outcome)
    assert outcome.status == VimStatus.UNKNOWN
    return outcome.reason.removeprefix("cannot probe: ")


def is_made_anew(how: How, before: Made) -> bool:
    return made(how, before).context is not before.context


# Which files are looked at


def test_where_nothing_is_verified_the_hosts_own_cas_are_not_looked_at(system: Path) -> None:
    how = How(verify=False)
    before = made(how)
    (system / "certs" / "new.pem").touch()
    assert before.stamps == ()
    assert not is_made_anew(how, before)


def test_a_new_file_among_the_hosts_own_cas_makes_the_context_anew(system: Path, authority: Authority) -> None:
    shutil.copy(authority.file, system / "ca.pem")
    before = made(How())
    assert not is_made_anew(How(), before)
    os.utime(system / "certs", (1, 1))  # as when something is put into it
    assert is_made_anew(How(), before)


def test_what_may_hang_is_named_before_it_is_begun(authority: Authority) -> None:
    certificate, key = authority.sign("client")
    how, noted = How(True, str(authority.file), str(certificate), str(key)), list[str]()
    before = look(how, None, noted.append)
    files = {"ca_file": authority.file, "client_cert_file": certificate, "client_key_file": key}
    each = [f"{name} takes too long ({file})" for name, file in files.items()]
    assert noted == each * 2, "looked at, and read"
    look(how, before, noted.append)
    assert noted == each * 3


# What is a change


def test_a_file_of_another_time_is_another(authority: Authority) -> None:
    how = How(ca_file=str(authority.file))
    before = made(how)
    found = os.stat(authority.file)
    assert not is_made_anew(how, before)
    [stamp] = before.stamps
    assert stamp == (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)
    for number in range(len(stamp)):
        other = tuple(value + (place == number) for place, value in enumerate(stamp))
        assert is_made_anew(how, Made((other,), before.context))  # type: ignore[arg-type]  # as many as they are


def test_a_file_that_is_gone_is_a_change_and_so_is_its_return(authority: Authority, tmp_path: Path) -> None:
    how = How(ca_file=str(authority.file))
    before = made(how)
    authority.file.rename(tmp_path / "away")
    gone = made(how, before)
    assert isinstance(gone.context, Outcome)
    (tmp_path / "away").rename(authority.file)
    assert isinstance(made(how, gone).context, ssl.SSLContext)


# What is wrong with a file


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file", "client_key_file"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device"])
def test_only_regular_files_are_opened(authority: Authority, tmp_path: Path, setting: str, kind: str) -> None:
    file = tmp_path / "odd"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(file))
    else:
        file = Path("/dev/zero")  # whoever reads it comes to no end
        assert stat.S_ISCHR(file.stat().st_mode)
    files = {"client_cert_file": str(authority.file), setting: str(file)}
    assert said(How(False, **files)) == f"{setting} is not a regular file ({file})"


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file", "client_key_file"])
def test_a_file_that_is_missing_is_named(authority: Authority, setting: str) -> None:
    files = {"client_cert_file": str(authority.sign("client")[0]), setting: "/nonexistent"}
    assert said(How(False, **files)) == f"{setting}: no such file or directory (/nonexistent)"


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file", "client_key_file"])
def test_a_file_that_cannot_be_opened_is_named(authority: Authority, setting: str) -> None:
    with no_more_files():
        assert (
            said(How(False, **{setting: str(authority.file)})) == f"{setting}: too many open files ({authority.file})"
        )


@pytest.mark.parametrize(
    ("gone", "named"), [("ca_file", "ca_file"), ("client_cert_file", "client_cert_file or its key")]
)
def test_a_file_that_goes_away_meanwhile_is_named(authority: Authority, gone: str, named: str) -> None:
    certificate, key = authority.sign("client")
    files = {"ca_file": str(authority.file), "client_cert_file": str(certificate), "client_key_file": str(key)}
    noted = list[str]()

    def note(what: str) -> None:
        noted.append(what)
        if len(noted) == 6:  # the last that is tried: the others have been
            os.unlink(files[gone])

    outcome = look(How(True, **files), None, note).context
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.reason) == (
        VimStatus.UNKNOWN,
        f"cannot probe: {named}: no such file or directory ({files[gone]})",
    )


def test_a_folder_of_cas_that_cannot_be_listed_is_not_taken_for_an_empty_one(system: Path) -> None:
    with no_more_files():
        assert said(How()) == f"the host's CA folder: too many open files ({system}/certs)"


def test_without_a_folder_of_cas_there_are_none_but_those_in_the_file(system: Path) -> None:
    (system / "certs").rmdir()
    assert said(How()) == "this host has no CA certificates (package ca-certificates?)"


def test_a_host_has_cas_in_a_file_or_in_a_folder(system: Path, authority: Authority) -> None:
    none = "this host has no CA certificates (package ca-certificates?)"
    assert said(How()) == none
    shutil.copy(authority.file, system / "certs")
    assert isinstance(made(How()).context, ssl.SSLContext), "OpenSSL looks into it later"
    (system / "certs" / authority.file.name).unlink()
    shutil.copy(authority.sign("server")[0], system / "ca.pem")
    assert said(How()) == none, "a certificate that is no CA's"
    shutil.copy(authority.file, system / "ca.pem")
    assert isinstance(made(How()).context, ssl.SSLContext)
