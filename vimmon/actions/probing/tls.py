"""The TLS contexts of a prober: one for each way to verify and to introduce oneself, made anew when a file changes.

With the system's CAs one takes 100 ms to make, and some MiB: never one for each probe.
"""

import os
import ssl
from dataclasses import dataclass

from vimmon.actions.probing.reasons import Trouble, cannot_probe
from vimmon.probes import HttpProbe, Outcome

CONTEXTS_MAX = 1000

Stamps = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class _How:
    verify: bool
    ca_file: str | None
    client_cert_file: str | None
    client_key_file: str | None

    def files(self) -> list[str]:
        """What the context is made from. The system's own CAs may be renewed as well."""
        files = [self.ca_file, self.client_cert_file, self.client_key_file]
        if self.verify and self.ca_file is None:
            system = ssl.get_default_verify_paths()
            files += [system.cafile, system.capath]
        return [file for file in files if file]


class TlsContexts:
    """For one event loop. The one with the system's CAs and nothing else is made at once."""

    def __init__(self) -> None:
        self._made: dict[_How, tuple[Stamps, ssl.SSLContext | Outcome]] = {}
        self._make(_How(True, None, None, None))

    def of(self, probe: HttpProbe) -> ssl.SSLContext:
        """Raises Trouble where this host lacks what the context needs, until it is there."""
        return self._get(_How(probe.verify, probe.ca_file, probe.client_cert_file, probe.client_key_file))

    def unverified(self) -> ssl.SSLContext:
        """One that believes any certificate, to look at one that was refused."""
        return self._get(_How(False, None, None, None))

    def _get(self, how: _How) -> ssl.SSLContext:
        stamps, made = self._made.get(how) or self._make(how)
        if stamps != _stamps(how):
            _, made = self._make(how)
        if isinstance(made, Outcome):
            raise Trouble(made)
        return made

    def _make(self, how: _How) -> tuple[Stamps, ssl.SSLContext | Outcome]:
        made = _stamps(how), _context(how)  # in this order: a file that changes in between is read again
        self._made.pop(how, None)
        self._made[how] = made
        if len(self._made) > CONTEXTS_MAX:
            del self._made[next(iter(self._made))]
        return made


def _stamps(how: _How) -> Stamps:
    return tuple(_stamp(file) for file in how.files())


def _stamp(file: str) -> tuple[int, int, int] | None:
    """Changes when the file does."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _context(how: _How) -> ssl.SSLContext | Outcome:
    """A client's context, or why there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not how.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif how.ca_file is None:
        context.load_default_certs()
        folder = ssl.get_default_verify_paths().capath  # OpenSSL looks into it when it meets a certificate
        if not context.cert_store_stats()["x509_ca"] and not (folder and os.listdir(folder)):
            return cannot_probe("this host has no CA certificates (package ca-certificates?)")
    elif trouble := _load_ca(context, how.ca_file):
        return cannot_probe(trouble)
    if how.client_cert_file and (trouble := _load_client(context, how.client_cert_file, how.client_key_file)):
        return cannot_probe(trouble)
    return context


def _load_ca(context: ssl.SSLContext, ca_file: str) -> str | None:
    """Why it cannot be, if it cannot."""
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError:
        return f"ca_file holds no certificate in PEM form ({ca_file})"
    except OSError as error:
        return _unreadable("ca_file", ca_file, error)
    return None


def _load_client(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> str | None:
    """Why it cannot be, if it cannot."""
    for name, file in (("client_cert_file", cert_file), ("client_key_file", key_file)):
        try:
            if file is not None:
                open(file, "rb").close()
        except OSError as error:
            return _unreadable(name, file, error)
    try:
        context.load_cert_chain(cert_file, key_file, password=lambda: "")  # else OpenSSL asks the terminal for one
    except OSError as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            return f"the client certificate and its key do not belong together ({cert_file})"
        return f"the client certificate or its key is not in PEM form, or needs a password ({cert_file})"
    return None


def _unreadable(setting: str, file: str | None, error: OSError) -> str:
    return f"{setting}: {os.strerror(error.errno or 0).lower()} ({file})"
