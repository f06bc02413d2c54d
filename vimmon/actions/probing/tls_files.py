"""Makes TLS contexts from files, and says what is wrong with a file. It may block for ever: it is for a thread."""

import os
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from vimmon.actions.probing.reasons import cannot_probe
from vimmon.probes import Outcome

Stamp = tuple[int, int, int, int, int]
Note = Callable[[str], None]


@dataclass(frozen=True)
class How:
    """How to verify, and how to introduce oneself."""

    verify: bool = True
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None

    def files(self) -> dict[str, str]:
        """What the context is made from, by words for it. The system's own CAs may be renewed as well."""
        named = {name: getattr(self, name) for name in ("ca_file", "client_cert_file", "client_key_file")}
        if self.verify and self.ca_file is None:
            system = ssl.get_default_verify_paths()
            named |= {"the host's CA file": system.cafile, "the host's CA folder": system.capath}
        return {name: file for name, file in named.items() if file}


class Made(NamedTuple):
    """A client's context, or why there is none; and what its files looked like before they were read."""

    stamps: tuple[Stamp | None, ...]
    context: ssl.SSLContext | Outcome


def look(how: How, before: Made | None, note: Note) -> Made:
    """What is to be used from now on: `before`, if it is good and no file has changed. Notes what it does next."""
    stamps = tuple(_stamp(name, file, note) for name, file in how.files().items())
    if before is not None and before.stamps == stamps and isinstance(before.context, ssl.SSLContext):
        return before
    return Made(stamps, _context(how, note))  # in this order: a file that changes in between is read again


def _stamp(name: str, file: str, note: Note) -> Stamp | None:
    """Changes when the file does, or when it gets other permissions."""
    note(f"{name} takes too long ({file})")
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _context(how: How, note: Note) -> ssl.SSLContext | Outcome:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        for name in ("ca_file", "client_cert_file", "client_key_file"):
            if file := getattr(how, name):
                note(f"{name} takes too long ({file})")
                _try(name, file)
        if not how.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif how.ca_file is None:
            _load_system(context)
        else:
            _load_ca(context, how.ca_file)
        if how.client_cert_file is not None:
            _load_client(context, how.client_cert_file, how.client_key_file)
    except _Unusable as problem:
        return cannot_probe(str(problem))
    return context


class _Unusable(Exception):
    """A file, in words for an operator."""


def _try(name: str, file: str) -> None:
    """What can be said of a single file. Only a regular one has an end, and is there at once."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise _Unusable(f"{name} is not a regular file ({file})")
        open(file, "rb").close()
    except OSError as error:
        raise _unreadable(name, file, error) from None


def _load_system(context: ssl.SSLContext) -> None:
    context.load_default_certs()
    folder = ssl.get_default_verify_paths().capath  # OpenSSL looks into it when it meets a certificate
    try:
        if not context.cert_store_stats()["x509_ca"] and not (folder and os.listdir(folder)):
            raise _Unusable("this host has no CA certificates (package ca-certificates?)")
    except OSError as error:
        raise _unreadable("the host's CA folder", str(folder), error) from None


def _load_ca(context: ssl.SSLContext, ca_file: str) -> None:
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError:
        raise _Unusable(f"ca_file holds no certificate in PEM form ({ca_file})") from None
    except OSError as error:
        raise _unreadable("ca_file", ca_file, error) from None


def _load_client(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    try:
        context.load_cert_chain(cert_file, key_file, password=lambda: "")  # else OpenSSL asks the terminal for one
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _Unusable(f"the client certificate and its key do not belong together ({cert_file})") from None
        problem = "the client certificate or its key is not in PEM form, or needs a password"
        raise _Unusable(f"{problem} ({cert_file})") from None
    except OSError as error:
        raise _unreadable("client_cert_file or its key", cert_file, error) from None


def _unreadable(name: str, file: str, error: OSError) -> _Unusable:
    return _Unusable(f"{name}: {os.strerror(error.errno or 0).lower()} ({file})")
