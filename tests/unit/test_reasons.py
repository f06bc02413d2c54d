"""What an operator reads when a probe fails, and whose trouble it is."""

import errno
import os
import ssl

import pytest

from vimmon.actions.probing import reasons
from vimmon.vim import VimStatus


def failed(*numbers: int) -> list[OSError]:
    return [OSError(number, f"[Errno {number}] Connect call failed ('192.0.2.1', 5000)") for number in numbers]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ECONNREFUSED, "connection refused"),
        (errno.EHOSTUNREACH, "no route to host"),
        (errno.ETIMEDOUT, "connection timed out"),
        (errno.ECONNRESET, "connection closed before an answer"),
        (errno.EACCES, "forbidden by a firewall on the way"),
    ],
)
def test_trouble_on_the_wire_is_the_vims(number: int, reason: str) -> None:
    outcome = reasons.of_connecting(failed(number))
    assert (outcome.status, outcome.reason) == (VimStatus.UNREACHABLE, reason)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EMFILE, "too many open files in this process"),
        (errno.ENFILE, "too many open files on this host"),
        (errno.EADDRNOTAVAIL, "no free local port or address"),
        (errno.ENETUNREACH, "this host has no route to the network"),
        (errno.EPERM, "forbidden by this host's firewall"),
        (errno.EAFNOSUPPORT, "this host lacks the address family (IPv6?)"),
        (errno.EXDEV, os.strerror(errno.EXDEV)),
    ],
)
def test_the_probers_own_trouble_says_nothing_about_the_vim(number: int, reason: str) -> None:
    outcome = reasons.of_connecting(failed(number))
    assert (outcome.status, outcome.reason) == (VimStatus.UNKNOWN, f"cannot probe: {reason}")


def test_an_error_without_a_number_is_not_held_against_the_vim() -> None:
    assert reasons.of_connecting([OSError("odd")]).status == VimStatus.UNKNOWN


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_addresses_the_wires_trouble_is_told_before_our_own_and_in_any_order_the_same(order: int) -> None:
    errors = failed(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED)[::order]
    assert reasons.of_connecting(errors) == reasons.unreachable("connection refused")
    errors = failed(errno.EMFILE, errno.ENETUNREACH)[::order]
    assert reasons.of_connecting(errors) == reasons.cannot_probe("too many open files in this process")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
@pytest.mark.parametrize("order", [1, -1])
def test_an_address_that_could_not_be_asked_for_a_shortage_of_ours_is_not_held_against_the_vim(
    number: int, order: int
) -> None:
    outcome = reasons.of_connecting(failed(errno.ECONNREFUSED, number)[::order])
    assert outcome == reasons.cannot_probe(reasons.OUR_OWN[number])


def test_a_tls_alert_is_told_in_its_own_words() -> None:
    alert = ssl.SSLError(1, "[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert protocol version (_ssl.c:1006)")
    alert.reason = "TLSV1_ALERT_PROTOCOL_VERSION"
    assert reasons.of_tls(alert) == reasons.unreachable("TLS handshake failed: tlsv1 alert protocol version")


def test_a_certificate_problem_without_words_of_ours_gets_openssls() -> None:
    error = ssl.SSLCertVerificationError(1, "")
    error.verify_code, error.verify_message = 68, "CA md too weak"
    assert reasons.of_tls(error) == reasons.unreachable("certificate not accepted: CA md too weak")


def test_a_reason_is_printable_and_short() -> None:
    assert reasons.unreachable("a\x1b[31m\n" + "x" * 300).reason == "a?[31m?" + "x" * 193


def test_a_round_trip_is_whole_milliseconds_and_at_least_one() -> None:
    fast, slow = reasons.reachable("HTTP 300", 0.0002), reasons.reachable("HTTP 300", 0.0314)
    assert (fast.reason, fast.rtt_ms) == ("HTTP 300 in 1 ms", 0.2)
    assert (slow.reason, slow.rtt_ms) == ("HTTP 300 in 31 ms", 31.4)
