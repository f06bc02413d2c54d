"""ICMP echo as bytes (RFC 792, RFC 4443), and how Linux reports an ICMP error about one."""

import errno
import os
import socket
import struct
from collections.abc import Iterable
from typing import Protocol

ECHO = struct.Struct("!BBHHHQ")  # type, code, checksum, id, sequence, nonce
HEADER = struct.Struct("!4xHH")  # id, sequence
REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}

# struct sock_extended_err of linux/errqueue.h: errno, origin, type, code, padding, info, data
EXTENDED_ERROR = struct.Struct("=IBBBBII")
REPORTS = {(0, 11): socket.AF_INET, (41, 25): socket.AF_INET6}  # IP_RECVERR, IPV6_RECVERR: by level and type
ORIGIN_LOCAL = 1
FINAL = {socket.AF_INET: frozenset({3, 11, 12}), socket.AF_INET6: frozenset({1, 3, 4})}  # others only advise
TOO_BIG = (3, 4)  # of IPv4, and advice as well
PROHIBITED = frozenset({(3, 9), (3, 10), (3, 13)})  # of IPv4, which has no errno for it


class Numbered(Protocol):
    """What an echo request has that no other has."""

    sequence: int
    nonce: int


def requests(kind: int, ident: int, of: Iterable[Numbered], *, checksum: bool) -> list[bytes]:
    """Echo requests of the kind in REQUEST. The kernel computes their `checksum`, but not on raw IPv4 sockets.

    In ones' complement the sum of a number's 16-bit words is its remainder by 65535.
    """
    pack = ECHO.pack
    if not checksum:
        return [pack(kind, 0, 0, ident, one.sequence, one.nonce) for one in of]
    known = (kind << 8) + ident
    return [
        pack(kind, 0, 0xFFFF - (known + one.sequence + one.nonce) % 0xFFFF, ident, one.sequence, one.nonce)
        for one in of
    ]


def error_in(ancillary: Iterable[tuple[int, int, bytes]]) -> OSError | None:
    """What the kernel reports of a request. None: nothing that ends the waiting for its reply.

    EHOSTUNREACH or EACCES: somebody on the way said so. Anything else is this host's own.
    """
    for level, kind, data in ancillary:
        family = REPORTS.get((level, kind))
        if family is None:
            continue
        number, origin, icmp_type, code, *_ = EXTENDED_ERROR.unpack_from(data)
        if origin == ORIGIN_LOCAL:
            return OSError(number, os.strerror(number))
        if icmp_type not in FINAL[family] or (family == socket.AF_INET and (icmp_type, code) == TOO_BIG):
            continue
        forbidden = number == errno.EACCES or (family == socket.AF_INET and (icmp_type, code) in PROHIBITED)
        return OSError(errno.EACCES if forbidden else errno.EHOSTUNREACH, f"ICMP type {icmp_type}, code {code}")
    return None
