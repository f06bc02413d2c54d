"""What an echo request looks like, and which ICMP errors end the waiting for its reply: on whom they are blamed."""

import errno
import socket
import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimmon.actions.probing.echo_packets import EXTENDED_ERROR, REQUEST, error_in, requests

IPV4, IPV6 = (0, 11), (41, 25)
LOCAL, ICMP, ICMP6 = 1, 2, 3  # linux/errqueue.h


@dataclass
class Numbers:
    sequence: int
    nonce: int


WORD = st.integers(0, 0xFFFF)


@given(WORD, WORD, st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 2**64 - 1])))
def test_a_request_has_the_checksum_of_rfc_1071_or_leaves_it_to_the_kernel(
    ident: int, sequence: int, nonce: int
) -> None:
    kind = REQUEST[socket.AF_INET]
    (packet,) = requests(kind, ident, [Numbers(sequence, nonce)], checksum=True)
    total = sum(struct.unpack("!8H", packet))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
    (bare,) = requests(kind, ident, [Numbers(sequence, nonce)], checksum=False)
    assert bare[:2] + bare[4:] == packet[:2] + packet[4:] == struct.pack("!BBHHQ", kind, 0, ident, sequence, nonce)
    assert bare[2:4] == b"\0\0"


def report(of: tuple[int, int], number: int, origin: int, kind: int, code: int) -> tuple[int, int, bytes]:
    return *of, EXTENDED_ERROR.pack(number, origin, kind, code, 0, 0, 0)


@pytest.mark.parametrize(
    ("of", "kind", "code", "number", "told"),
    [
        *((IPV4, 3, code, errno.EHOSTUNREACH, errno.EHOSTUNREACH) for code in (0, 1, 2, 3, 5, 6, 7, 8, 11, 12)),
        *((IPV4, 3, code, errno.EHOSTUNREACH, errno.EACCES) for code in (9, 10, 13)),
        (IPV4, 3, 4, errno.EMSGSIZE, None),  # too big
        (IPV4, 4, 0, 0, None),  # quench
        (IPV4, 5, 1, 0, None),  # redirect
        (IPV4, 11, 0, errno.EHOSTUNREACH, errno.EHOSTUNREACH),  # its time to live was over
        (IPV4, 11, 9, errno.EHOSTUNREACH, errno.EHOSTUNREACH),
        (IPV4, 12, 0, errno.EPROTO, errno.EHOSTUNREACH),
        *((IPV6, 1, code, errno.EHOSTUNREACH, errno.EHOSTUNREACH) for code in (0, 2, 3)),
        (IPV6, 1, 1, errno.EACCES, errno.EACCES),
        (IPV6, 2, 0, errno.EMSGSIZE, None),
        (IPV6, 3, 0, errno.EHOSTUNREACH, errno.EHOSTUNREACH),
        (IPV6, 3, 9, errno.EHOSTUNREACH, errno.EHOSTUNREACH),  # codes are those of IPv4 there only
        (IPV6, 3, 4, errno.EHOSTUNREACH, errno.EHOSTUNREACH),
        (IPV6, 4, 0, errno.EPROTO, errno.EHOSTUNREACH),
        (IPV6, 137, 0, 0, None),  # redirect
    ],
)
def test_what_somebody_on_the_way_says(
    of: tuple[int, int], kind: int, code: int, number: int, told: int | None
) -> None:
    error = error_in([report(of, number, ICMP if of == IPV4 else ICMP6, kind, code)])
    assert (error and error.errno) == told
    if error is not None:
        assert error.strerror == f"ICMP type {kind}, code {code}"


@pytest.mark.parametrize("of", [IPV4, IPV6])
def test_what_this_host_itself_says_is_told_as_it_is(of: tuple[int, int]) -> None:
    error = error_in([report(of, errno.EMSGSIZE, LOCAL, 0, 0)])
    assert error is not None
    assert error.errno == errno.EMSGSIZE


def test_what_is_no_report_or_only_advice_is_passed_over() -> None:
    advice, said = report(IPV4, 0, ICMP, 5, 1), report(IPV4, errno.EHOSTUNREACH, ICMP, 3, 1)
    assert error_in([(1, 29, b"a timestamp"), advice]) is None
    error = error_in([(1, 29, b"a timestamp"), advice, said])
    assert error is not None
    assert error.errno == errno.EHOSTUNREACH
    assert error_in([]) is None
