"""What an operator reads when a probe fails, and whose trouble it is."""

import errno
import os
import ssl
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from vimmon.actions.probing import reasons
from vimmon.vim import VimStatus


def tls_error(kind: type[ssl.SSLError], reason: str | None = None) -> ssl.SSLError:
    """As OpenSSL's errors are raised: with a reason, which may be none."""
    error = kind(1, "")
    error.reason = reason  # type: ignore[assignment]  # typeshed knows no None
    return error


def failed(*numbers: int) -> list[OSError]:
    return [OSError(number, f"[Errno {number}] Connect call failed ('192.0.2.1', 5000)") for number in numbers]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ECONNREFUSED, "connection refused"),
        (errno.EHOSTUNREACH, "no route to host"),
        (errno.EHOSTDOWN, "no route to host"),
        (errno.ECONNABORTED, "connection closed before an answer"),
        (errno.EPIPE, "connection closed before an answer"),
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
        (errno.EADDRINUSE, "no free local port or address"),
        (errno.ENETDOWN, "this host's network is down"),
        (errno.EAGAIN, "this host's buffer for sending is full"),
        (errno.ENOBUFS, "this host is out of memory"),
        (errno.ENOMEM, "this host is out of memory"),
        (errno.ENODEV, "this host has no such network interface"),
        (errno.EINVAL, "this host cannot use the address"),
        (errno.EAFNOSUPPORT, "this host lacks the address family (IPv6?)"),
        (errno.EXDEV, os.strerror(errno.EXDEV)),
    ],
)
def test_the_probers_own_trouble_says_nothing_about_the_vim(number: int, reason: str) -> None:
    outcome = reasons.of_connecting(failed(number))
    assert (outcome.status, outcome.reason) == (VimStatus.UNKNOWN, f"cannot probe: {reason}")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EHOSTUNREACH, "this host's routes lead nowhere from here"),
        (errno.EACCES, "forbidden by this host's routes, or a broadcast address"),
    ],
)
def test_what_a_router_may_say_as_well_is_this_hosts_own_where_it_was_said_at_once(number: int, reason: str) -> None:
    said = reasons.refused(OSError(number, ""))
    assert reasons.of_connecting([said]) == reasons.cannot_probe(reason)
    later = [said, OSError(number, "")]
    assert reasons.of_connecting(later) == reasons.of_connecting(later[1:])
    refused = OSError(errno.ECONNREFUSED, "")
    assert reasons.refused(refused) is refused


def test_of_several_troubles_on_the_wire_the_best_known_is_told() -> None:
    known = list(reasons.ON_THE_WIRE)
    assert [reasons.ON_THE_WIRE[number] for number in known] == [
        "connection refused",
        *["connection closed before an answer"] * 3,
        "forbidden by a firewall on the way",
        "connection timed out",
        *["no route to host"] * 2,
    ]
    for first, second in pairwise(known):
        assert reasons.of_connecting(failed(second, first)) == reasons.unreachable(reasons.ON_THE_WIRE[first])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (9, "certificate not valid yet"),
        (10, "certificate expired"),
        *((code, "certificate not trusted") for code in (18, 19, 20, 21)),
        *((code, "certificate is for another name") for code in (62, 63, 64)),
    ],
)
def test_what_openssl_finds_wrong_with_a_certificate_has_words_of_ours(code: int, reason: str) -> None:
    error = ssl.SSLCertVerificationError(1, "")
    error.verify_code, error.verify_message = code, "openssl's own words"
    assert reasons.of_tls(error) == reasons.unreachable(reason)


@pytest.mark.parametrize(
    "reason",
    ["WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"],
)
def test_what_openssl_calls_an_answer_that_is_no_tls(reason: str) -> None:
    error = tls_error(ssl.SSLError, reason)
    assert reasons.of_tls(error) == reasons.unreachable("the port does not speak TLS")


def test_an_end_of_the_handshake_without_a_reason_is_told_as_what_it_was() -> None:
    closed = reasons.unreachable("connection closed in the TLS handshake")
    ends = tls_error(ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"), tls_error(ssl.SSLZeroReturnError)
    for error in (*ends, ConnectionResetError(errno.ECONNRESET, "")):
        assert reasons.of_tls(error) == closed
    assert reasons.of_tls(tls_error(ssl.SSLError)) == reasons.unreachable("TLS handshake failed: no reason given")


def test_what_ended_an_exchange_is_told_as_far_as_it_is_known() -> None:
    alert = tls_error(ssl.SSLError, "SSLV3_ALERT_CERTIFICATE_REVOKED")
    said = "refused after the TLS handshake: sslv3 alert certificate revoked"
    assert reasons.of_exchange(alert) == reasons.unreachable(said)
    closed = reasons.unreachable("connection closed before an answer")
    assert reasons.of_exchange(tls_error(ssl.SSLError)) == closed, "1 is not the system's EPERM"
    for error in (ValueError("odd"), OSError("odd"), ConnectionResetError(errno.ECONNRESET, "")):
        assert reasons.of_exchange(error) == closed
    assert reasons.of_exchange(OSError(errno.ETIMEDOUT, "")) == reasons.unreachable("connection timed out")


def test_an_error_without_a_number_is_not_held_against_the_vim() -> None:
    assert reasons.of_connecting([OSError("odd")]) == reasons.cannot_probe("connecting failed")


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_addresses_the_wires_trouble_is_told_before_our_own_and_in_any_order_the_same(order: int) -> None:
    errors = failed(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED)[::order]
    assert reasons.of_connecting(errors) == reasons.unreachable("connection refused")
    errors = failed(errno.EMFILE, errno.ENETUNREACH)[::order]
    assert reasons.of_connecting(errors) == reasons.cannot_probe("too many open files in this process")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM])
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
    assert reasons.unreachable("x" * 300).reason == "x" * 200


def test_a_certificate_that_expires_now_has_expired_and_one_that_does_later_was_not_the_one() -> None:
    now = datetime(2026, 4, 30, 12, tzinfo=UTC)
    expired = reasons.unreachable("certificate expired on 2026-04-30")
    assert reasons.certificate_expired(now, now=now) == expired
    later = reasons.certificate_expired(now, now=now - timedelta(seconds=1))
    assert later == reasons.unreachable("a certificate in its chain expired")


def test_a_round_trip_is_whole_milliseconds_and_at_least_one() -> None:
    fast, slow = reasons.reachable("HTTP 300", 0.0002), reasons.reachable("HTTP 300", 0.0314)
    assert (fast.reason, fast.rtt_ms) == ("HTTP 300 in 1 ms", 0.2)
    assert (slow.reason, slow.rtt_ms) == ("HTTP 300 in 31 ms", 31.4)
