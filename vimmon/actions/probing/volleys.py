"""Echo packets by the dozen: Linux's sendmmsg and recvmmsg, which Python does not have, and their buffers.

A call of the system for each packet costs a host that asks thousands more than all else it does with them.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from vimmon.actions.probing.echo_packets import ECHO

VOLLEY_MAX = 64
PACKET_MAX = 128  # the longest header of IP, an echo, and more
IP_HEADER_BYTES = 20  # of IPv4, without options
USUAL = 0x45  # the first byte of such a header
RECORD_BYTES = 192  # what is received: a packet, the sender's address, then when it came
STAMP_AT, STAMP_BYTES = 160, 32  # struct cmsghdr, struct timespec, both of 64 bits
ADDRESS_BYTES = {socket.AF_INET: 16, socket.AF_INET6: 28}  # struct sockaddr_in, sockaddr_in6
IP_IN_ADDRESS = {socket.AF_INET: "4x4s", socket.AF_INET6: "8x16s"}
STAMP = struct.Struct("=16xqq")

Echoes = Iterator[tuple[int, int, int, bytes]]


class _Vector(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr"""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vectors_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


_libc = ctypes.CDLL(None, use_errno=True)
_sendmmsg, _recvmmsg = _libc.sendmmsg, _libc.recvmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)


class Volleys:
    """Of one socket that does not block. `ip_header`: what it receives has a header of IPv4 in front."""

    def __init__(self, of: socket.socket, *, ip_header: bool) -> None:
        self._of = of
        self._ip_header = ip_header
        self._outgoing = _Outgoing(ADDRESS_BYTES[socket.AddressFamily(of.family)])
        self._incoming = _Incoming(socket.AddressFamily(of.family), IP_HEADER_BYTES if ip_header else 0)

    def send(self, packets: Sequence[bytes], addresses: Sequence[bytes]) -> int:
        """How many were sent, of at most VOLLEY_MAX: of the next one, or of another before, the system has an error to
        tell, which the next attempt may meet or not."""
        outgoing = self._outgoing
        packet, address = b"".join(packets), b"".join(addresses)
        ctypes.memmove(outgoing.packets, packet, len(packet))
        ctypes.memmove(outgoing.addresses, address, len(address))
        return max(0, int(_sendmmsg(self._of.fileno(), outgoing.start, len(packets), socket.MSG_DONTWAIT)))

    def send_alone(self, packet: bytes, address: bytes) -> None:
        """Raises OSError where this one, or another before, has one to tell."""
        if not self.send([packet], [address]):
            raise _error()

    def receive(self) -> tuple[int, Echoes]:
        """How many have come, up to VOLLEY_MAX; and of each id, sequence number, nonce, and the IP address that it came
        from. What is too short for that is filled up with zeros. Raises OSError."""
        incoming = self._incoming
        incoming.make_ready()
        count = _recvmmsg(self._of.fileno(), incoming.start, VOLLEY_MAX, socket.MSG_DONTWAIT, None)
        if count < 0:
            raise _error()
        if self._ip_header:
            incoming.take_out_options(count)
        return count, incoming.echo.iter_unpack(incoming.records[: count * RECORD_BYTES])

    def came_at(self, number: int) -> float:
        """When that one of those received last came, by the clock of the day, in s. 0: the system does not say."""
        seconds, nanoseconds = STAMP.unpack_from(self._incoming.records, number * RECORD_BYTES + STAMP_AT)
        return float(seconds + nanoseconds * 1e-9)


def _error() -> OSError:
    """Of the class that belongs to its number."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


class _Outgoing:
    """Where a volley is put together. Nothing in here moves."""

    def __init__(self, address_bytes: int) -> None:
        self.packets = ctypes.create_string_buffer(VOLLEY_MAX * ECHO.size)
        self.addresses = ctypes.create_string_buffer(VOLLEY_MAX * address_bytes)
        packets, addresses = ctypes.addressof(self.packets), ctypes.addressof(self.addresses)
        self._messages, self._vectors = _messages(
            (packets + number * ECHO.size, ECHO.size, addresses + number * address_bytes, address_bytes)
            for number in range(VOLLEY_MAX)
        )
        self.start = ctypes.addressof(self._messages)


class _Incoming:
    """Where packets are received."""

    def __init__(self, family: socket.AddressFamily, header_bytes: int) -> None:
        buffer = ctypes.create_string_buffer(VOLLEY_MAX * RECORD_BYTES)
        at, address_bytes = ctypes.addressof(buffer), ADDRESS_BYTES[family]
        self._messages, self._vectors = _messages(
            (at + number * RECORD_BYTES, PACKET_MAX, at + number * RECORD_BYTES + PACKET_MAX, address_bytes)
            for number in range(VOLLEY_MAX)
        )
        for number, message in enumerate(self._messages):
            message.header.control = at + number * RECORD_BYTES + STAMP_AT
            message.header.control_length = STAMP_BYTES
        self.start, self._anew = ctypes.addressof(self._messages), bytes(self._messages)
        self._buffer, self.records = buffer, memoryview(buffer).cast("B")
        form = f"!{header_bytes + 4}xHHQ{PACKET_MAX - header_bytes - ECHO.size}x{IP_IN_ADDRESS[family]}"
        self.echo = struct.Struct(f"{form}{RECORD_BYTES - struct.calcsize(form)}x")

    def make_ready(self) -> None:
        """The system has written into the messages; and what was received before must not complete what comes now."""
        ctypes.memmove(self.start, self._anew, len(self._anew))
        ctypes.memset(self._buffer, 0, len(self._buffer))

    def take_out_options(self, count: int) -> None:
        """Hardly any packet has options in its header of IP: then it is made as if it had none."""
        firsts = self.records[: count * RECORD_BYTES : RECORD_BYTES].tobytes()
        if firsts.count(USUAL) == count:
            return
        for number, first in enumerate(firsts):
            more = (first & 0x0F) * 4 - IP_HEADER_BYTES
            if more > 0:
                begin, end = number * RECORD_BYTES + IP_HEADER_BYTES, number * RECORD_BYTES + PACKET_MAX
                self.records[begin:end] = self.records[begin + more : end].tobytes() + bytes(more)


def _messages(places: Iterator[tuple[int, int, int, int]]) -> tuple[ctypes.Array[_Message], ctypes.Array[_Vector]]:
    """VOLLEY_MAX of them: where each has its packet and its address, and how long these are."""
    messages, vectors = (_Message * VOLLEY_MAX)(), (_Vector * VOLLEY_MAX)()
    for message, vector, (packet, packet_bytes, address, address_bytes) in zip(messages, vectors, places, strict=True):
        vector.base, vector.length = packet, packet_bytes
        message.header.name, message.header.name_length = address, address_bytes
        message.header.vectors, message.header.vectors_length = ctypes.pointer(vector), 1
    return messages, vectors
