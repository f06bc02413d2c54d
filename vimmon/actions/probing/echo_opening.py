"""How an ICMP socket is made: as the host allows it, with buffers for thousands of replies, told when each
came, and of errors."""

import contextlib
import errno
import socket
import struct

from vimmon.actions.probing import echo_packets
from vimmon.actions.probing.reasons import Trouble, cannot_probe, no_such_source
from vimmon.actions.probing.resolver import bind_address

BUFFER_BYTES = 4 * 1024 * 1024  # holds the replies to 5,000 requests; the default 256
SO_SNDBUFFORCE, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 32, 33, 35  # asm-generic/socket.h
IP_RECVERR, IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h
SOL_RAW, ICMP_FILTER, ICMP6_FILTER = 255, 1, 1  # linux/icmp.h, linux/icmpv6.h: a bit set is a type not wanted
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT})
NOT_ALLOWED = (
    "no ICMP socket is allowed here: let net.ipv4.ping_group_range contain this process's group, or grant CAP_NET_RAW"
)


def open_socket(family: socket.AddressFamily, source: str | None) -> tuple[socket.socket, bool]:
    """And whether it is a raw one. Raises Trouble or OSError where it cannot be made."""
    new, raw = _open(family)
    try:
        _prepare(new, family, raw=raw)
        if source is not None:
            _bind(new, source)
    except BaseException:
        new.close()
        raise
    return new, raw


def _open(family: socket.AddressFamily) -> tuple[socket.socket, bool]:
    """A datagram socket, which needs no privilege where the sysctl allows it; else a raw one."""
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    try:
        return socket.socket(family, socket.SOCK_DGRAM, protocol), False
    except OSError as error:
        if error.errno not in DENIED:
            raise
    try:
        return socket.socket(family, socket.SOCK_RAW, protocol), True
    except OSError as error:
        if error.errno not in DENIED:
            raise
        raise Trouble(cannot_probe(NOT_ALLOWED)) from None


def _prepare(new: socket.socket, family: socket.AddressFamily, *, raw: bool) -> None:
    new.setblocking(False)
    with contextlib.suppress(OSError):  # then replies count until they are read
        new.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    for forced, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            new.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except OSError:
            new.setsockopt(socket.SOL_SOCKET, plain, BUFFER_BYTES)
    unwanted = 0xFFFFFFFF ^ 1 << echo_packets.REPLY[family] % 32
    if family == socket.AF_INET:
        new.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        if raw:
            new.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", unwanted))
    else:
        new.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        if raw:
            words = [0xFFFFFFFF] * 8
            words[echo_packets.REPLY[family] // 32] = unwanted
            new.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("=8I", *words))


def _bind(new: socket.socket, source: str) -> None:
    try:
        new.bind(bind_address(source).sockaddr)
    except OSError:
        raise Trouble(no_such_source(source)) from None
