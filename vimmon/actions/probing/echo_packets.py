"""ICMP echo as bytes (RFC 792, RFC 4443), and how Linux reports an ICMP error about one."""

import errno
import os
import socket
import struct
from collections.abc import Iterable

ECHO = struct.Struct("!BBHHHQ")  # type, code, checksum, id, sequence, nonce
PACKET_MAX = 128  # of one that is received: the longest header of IP, an echo, and more
BARE = struct.Struct(f"!B3xHHQ{PACKET_MAX - 16}x")  # of those: type, id, sequence, nonce
BEHIND_IP_BYTES = 36
BEHIND_IP = struct.Struct(f"!B23xHHQ{PACKET_MAX - BEHIND_IP_BYTES}x")  # behind a header of 20 bytes, its first one
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


def requests(kind: int, ident: int, numbers: Iterable[tuple[int, int]], *, checksum: bool) -> list[bytes]:
    """An echo request of the kind in REQUEST for each sequence number and nonce. The kernel computes its `checksum`,
    but not on raw IPv4 sockets.

    In ones' complement the sum of a number's 16-bit words is its remainder by 65535.
    """
    pack = ECHO.pack
    if not checksum:
        return [pack(kind, 0, 0, ident, sequence, nonce) for sequence, nonce in numbers]
    known = (kind << 8) + ident
    return [
        pack(kind, 0, 0xFFFF - (known + sequence + nonce) % 0xFFFF, ident, sequence, nonce)
        for sequence, nonce in numbers
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
