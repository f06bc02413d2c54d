"""Echo packets by the dozen: Linux's sendmmsg and recvmmsg, which Python does not have, and their buffers.

A call of the system for each packet costs a host that asks thousands more than all else it does with them.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from vimmon.actions.probing.echo_packets import BARE, BEHIND_IP, BEHIND_IP_BYTES, ECHO, PACKET_MAX

VOLLEY_MAX = 64
IP_HEADER_BYTES = 20  # of IPv4, without options
USUAL = 0x45  # the first byte of such a header
ADDRESS = {  # struct sockaddr_in, sockaddr_in6: how many bytes, and the IP address within a name as it is received
    socket.AF_INET: (16, struct.Struct("4x4s20x")),
    socket.AF_INET6: (28, struct.Struct("8x16s4x")),
}
NAME_BYTES = 28  # the longest


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


MESSAGE_BYTES = ctypes.sizeof(_Message)
LENGTH = struct.Struct(f"={_Message.length.offset}xI{MESSAGE_BYTES - _Message.length.offset - 4}x")

_libc = ctypes.CDLL(None, use_errno=True)
_sendmmsg, _recvmmsg = _libc.sendmmsg, _libc.recvmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)

Came = Iterator[tuple[tuple[int], tuple[bytes], tuple[int, int, int, int]]]


class Volleys:
    """Of one socket that does not block. `ip_header`: what it receives has a header of IPv4 in front."""

    def __init__(self, of: socket.socket, *, ip_header: bool) -> None:
        self._of = of
        self._name_bytes, self._ip = ADDRESS[of.family]
        self._ip_header = ip_header
        self._echo = BEHIND_IP if ip_header else BARE
        self.least_bytes = BEHIND_IP_BYTES if ip_header else ECHO.size
        self._out = _Buffers(ECHO.size, self._name_bytes)
        self._in = _Buffers(PACKET_MAX, NAME_BYTES)
        self._in_anew = bytes(self._in.messages)  # the system writes into them

    def send(self, packets: Sequence[bytes], addresses: Sequence[bytes]) -> int:
        """How many were sent, of at most VOLLEY_MAX: of the next one, or of another before, the system has an error to
        tell, which the next attempt may meet or not."""
        out = self._out
        ctypes.memmove(out.packets, b"".join(packets), len(packets) * ECHO.size)
        ctypes.memmove(out.names, b"".join(addresses), len(addresses) * self._name_bytes)
        return max(0, int(_sendmmsg(self._of.fileno(), out.start, len(packets), socket.MSG_DONTWAIT)))

    def send_alone(self, packet: bytes, address: bytes) -> None:
        """Raises OSError where this one, or another before, has one to tell."""
        if not self.send([packet], [address]):
            raise _error()

    def receive(self) -> tuple[int, Came]:
        """How many have come, up to VOLLEY_MAX, and of each: its length in bytes, from which IP address; its first
        byte, id, sequence number and nonce, which mean something from `least_bytes` on. Raises OSError."""
        came = self._in
        ctypes.memmove(came.start, self._in_anew, len(self._in_anew))
        count = _recvmmsg(self._of.fileno(), came.start, VOLLEY_MAX, socket.MSG_DONTWAIT, None)
        if count < 0:
            raise _error()
        if self._ip_header:
            self._take_out_options(count)
        lengths = LENGTH.iter_unpack(came.view_of_messages[: count * MESSAGE_BYTES])
        names = self._ip.iter_unpack(came.view_of_names[: count * NAME_BYTES])
        echoes = self._echo.iter_unpack(came.view_of_packets[: count * PACKET_MAX])
        return count, zip(lengths, names, echoes, strict=True)

    def _take_out_options(self, count: int) -> None:
        """Hardly any packet has options in its header of IP: then it is made as if it had none."""
        firsts = self._in.view_of_packets[: count * PACKET_MAX : PACKET_MAX].tobytes()
        if firsts.count(USUAL) == count:
            return
        for number, first in enumerate(firsts):
            more = (first & 0x0F) * 4 - IP_HEADER_BYTES
            if more > 0:
                message, at = self._in.messages[number], number * PACKET_MAX
                message.length = max(0, message.length - more)
                packet = self._in.view_of_packets[at : at + PACKET_MAX].tobytes()
                rest = packet[IP_HEADER_BYTES + more :]
                self._in.view_of_packets[at + IP_HEADER_BYTES : at + IP_HEADER_BYTES + len(rest)] = rest


def _error() -> OSError:
    """Of the class that belongs to its number."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


class _Buffers:
    """VOLLEY_MAX messages, each with a packet and a name, all of one size. Nothing in here moves."""

    def __init__(self, packet_bytes: int, name_bytes: int) -> None:
        self.packets = ctypes.create_string_buffer(VOLLEY_MAX * packet_bytes)
        self.names = ctypes.create_string_buffer(VOLLEY_MAX * name_bytes)
        self.messages = (_Message * VOLLEY_MAX)()
        self._vectors = (_Vector * VOLLEY_MAX)()
        for number in range(VOLLEY_MAX):
            vector, header = self._vectors[number], self.messages[number].header
            vector.base, vector.length = ctypes.addressof(self.packets) + number * packet_bytes, packet_bytes
            header.name, header.name_length = ctypes.addressof(self.names) + number * name_bytes, name_bytes
            header.vectors, header.vectors_length = ctypes.pointer(vector), 1
        self.start = ctypes.addressof(self.messages)
        self.view_of_packets, self.view_of_names, self.view_of_messages = (
            memoryview(part).cast("B") for part in (self.packets, self.names, self.messages)
        )
