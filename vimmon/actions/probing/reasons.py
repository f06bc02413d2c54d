"""Turns what went wrong in a probe into a status and words for an operator: the VIM's trouble, or this host's own.

Equal trouble gives equal words, so that a status with its reason changes only when something did.
"""

import errno
import os
import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from vimmon.probes import Outcome
from vimmon.vim import VimStatus

REACHABLE = VimStatus.REACHABLE  # a name of its own: this is what is made most often
REASON_MAX = 200
CLOSED = "connection closed before an answer"

# Best known first: of several addresses that failed, the first of these is told.
ON_THE_WIRE: Mapping[int, str] = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: CLOSED,
    errno.ECONNABORTED: CLOSED,
    errno.EPIPE: CLOSED,
    errno.EACCES: "forbidden by a firewall on the way",  # what IPv6 makes of "administratively prohibited"
    errno.ETIMEDOUT: "connection timed out",
    errno.EHOSTUNREACH: "no route to host",
    errno.EHOSTDOWN: "no route to host",
}
OUR_OWN: Mapping[int, str] = {
    errno.EMFILE: "too many open files in this process",
    errno.ENFILE: "too many open files on this host",
    errno.EADDRNOTAVAIL: "no free local port or address",
    errno.EADDRINUSE: "no free local port or address",
    errno.ENETUNREACH: "this host has no route to the network",
    errno.ENETDOWN: "this host's network is down",
    errno.EAFNOSUPPORT: "this host lacks the address family (IPv6?)",
    errno.EPERM: "forbidden by this host's firewall",
    errno.EAGAIN: "this host's buffer for sending is full",
    errno.ENOBUFS: "this host is out of memory",
    errno.ENOMEM: "this host is out of memory",
    errno.ENODEV: "this host has no such network interface",
    errno.EINVAL: "this host cannot use the address",
    errno.EHOSTUNREACH: "this host's routes lead nowhere from here",
    errno.EACCES: "forbidden by this host's routes, or a broadcast address",
}
BY_ROUTE = frozenset({errno.EHOSTUNREACH, errno.EACCES})  # a router may say it as well, but later
# Whoever is short of these has not asked.
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM)

# OpenSSL's X509_V_ERR_*, see x509_vfy.h
EXPIRED = 10
CERTIFICATE: Mapping[int, str] = {
    9: "certificate not valid yet",
    EXPIRED: "certificate expired",
    18: "certificate not trusted",  # self-signed
    19: "certificate not trusted",  # a self-signed one in its chain
    20: "certificate not trusted",  # issuer not known here
    21: "certificate not trusted",  # the same, without a chain
    62: "certificate is for another name",
    63: "certificate is for another name",
    64: "certificate is for another name",  # an address, not a name
}
NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


class Trouble(Exception):
    """The probe has its outcome, and it is not REACHABLE. Never leaves the prober, so no error of vimmon's."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Refused(OSError):
    """This host itself said so, before anything was sent."""


def refused(error: OSError) -> OSError:
    """An error that was raised at once. A loopback address refuses at once, too: that is the VIM's."""
    return Refused(error.errno, error.strerror) if error.errno in BY_ROUTE else error


def reachable(reason: str, rtt_s: float) -> Outcome:
    """`reason`, in words of our own, with the time it took: whole milliseconds, at least one."""
    reason = with_time(reason, whole_ms(rtt_s))
    return Outcome(status=REACHABLE, reason=reason, rtt_ms=round(rtt_s * 1_000_000) / 1000)


def whole_ms(rtt_s: float) -> int:
    """As it stands in the reason: no answer takes no time."""
    return round(rtt_s * 1000) or 1


@lru_cache(maxsize=4096)  # thousands of monitors keep equal words: once, then
def with_time(reason: str, ms: int) -> str:
    return f"{reason} in {ms} ms"


def unreachable(reason: str) -> Outcome:
    return Outcome(status=VimStatus.UNREACHABLE, reason=_printable(reason))


def cannot_probe(reason: str) -> Outcome:
    """The prober's own trouble: it says nothing about the VIM."""
    return Outcome(status=VimStatus.UNKNOWN, reason=_printable(f"cannot probe: {reason}"))


def no_such_source(address: str) -> Outcome:
    return cannot_probe(f"this host does not have the source address {address}")


def no_answer(timeout_s: float) -> Outcome:
    return unreachable(f"no answer within {timeout_s:g} s")


def of_connecting(errors: Sequence[OSError]) -> Outcome:
    """What the failed attempts, one for each address and at least one, say together: the wire's trouble before our own.

    But a shortage of ours comes first: an address that could not be asked for want of it may well have answered.
    """
    numbers = [error.errno for error in errors]
    for number in SHORTAGES:
        if number in numbers:
            return cannot_probe(OUR_OWN[number])
    on_the_wire = [error.errno for error in errors if not isinstance(error, Refused)]
    for number, words in ON_THE_WIRE.items():
        if number in on_the_wire:
            return unreachable(words)
    for number, words in OUR_OWN.items():
        if number in numbers:
            return cannot_probe(words)
    return cannot_probe(os.strerror(numbers[0]) if numbers[0] else "connecting failed")


def of_tls(error: OSError) -> Outcome:
    """What went wrong between the connection and the request."""
    if isinstance(error, ssl.SSLCertVerificationError):
        other = f"certificate not accepted: {error.verify_message}"
        return unreachable(CERTIFICATE.get(error.verify_code, other))
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        reason = error.reason or "no reason given"
        if reason in NOT_TLS:
            return unreachable("the port does not speak TLS")
        return unreachable(f"TLS handshake failed: {_in_words(reason)}")
    return unreachable("connection closed in the TLS handshake")


def _in_words(reason: str) -> str:
    return reason.lower().replace("_", " ")


def certificate_expired(expired_at: datetime, *, now: datetime) -> Outcome:
    """When it did; or else one of those that vouch for it did."""
    if expired_at > now:
        return unreachable("a certificate in its chain expired")
    return unreachable(f"certificate expired on {expired_at:%Y-%m-%d}")


def of_exchange(error: Exception) -> Outcome:
    """What went wrong after the request was sent."""
    if isinstance(error, ssl.SSLError):  # its number is none of the system's
        return unreachable(f"refused after the TLS handshake: {_in_words(error.reason)}" if error.reason else CLOSED)
    number = error.errno if isinstance(error, OSError) else None
    return of_connecting([OSError(number, "")]) if number else unreachable(CLOSED)


def _printable(text: str) -> str:
    if text.isprintable():
        return text[:REASON_MAX]
    return "".join(char if char.isprintable() else "?" for char in text)[:REASON_MAX]
