"""Whom an echo request is sent to, and who is told what came of it."""

import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vimmon.actions.probing.resolver import Address
from vimmon.actions.probing.turns import Turns

if TYPE_CHECKING:
    from vimmon.actions.probing.echo_socket import EchoSocket

SOCKADDR_IN, SOCKADDR_IN6 = struct.Struct("=HH4s8x"), struct.Struct("=HHI16sI")  # linux/in.h, linux/in6.h


@dataclass(frozen=True, slots=True, eq=False)
class Asker:
    """Of every request one of them is called, once, unless it is cancelled before.

    `replied`: with the peers whose replies were read together, each with its `rtt_s`, and when that was, in the loop's
    time. `failed`: with the peer and what came instead of a reply: an error, or None where its time is over. Each
    request has one of the `turns` while it waits; to take it is the business of who sends.
    """

    replied: Callable[[Sequence["Peer"], float], None]
    failed: Callable[["Peer", Exception | None], None]
    turns: Turns | None = None


class Peer:
    """Somebody who is asked, one request at a time. It is made once and asked often: it keeps what every request needs.

    While a request waits, `socket` is the one it was sent by. `rtt_s`: of the last that was replied to. `of`: as what
    the asker knows it. `ip` and `sockaddr` are bytes.
    """

    __slots__ = (
        "asker",
        "family",
        "ip",
        "nonce",
        "of",
        "rtt_s",
        "sent_at",
        "sequence",
        "sockaddr",
        "socket",
        "timeout_s",
    )

    def __init__(self, address: Address, timeout_s: float, asker: Asker, of: Any = None) -> None:
        self.family = address.family
        self.ip, self.sockaddr = as_bytes(address)
        self.nonce = secrets.randbits(64) | 1  # nobody else can guess it, and without its end it is another
        self.timeout_s = timeout_s
        self.asker = asker
        self.of = of
        self.socket: EchoSocket | None = None
        self.sequence = 0
        self.sent_at = 0.0
        self.rtt_s = 0.0

    def fail(self, why: Exception | None) -> None:
        """Ends the waiting, if it waits, and says why."""
        self.cancel()
        self.asker.failed(self, why)

    def cancel(self) -> None:
        """Lets go of the request that waits, if one does: nothing is told of it."""
        if self.socket is not None:
            del self.socket.waiting[self.sequence]
            self.socket = None
            self.give_back()

    def give_back(self) -> None:
        """The turn of a request that waits no more, or never did."""
        if self.asker.turns is not None:
            self.asker.turns.give_back()


def as_bytes(address: Address) -> tuple[bytes, bytes]:
    """The IP address, and the address as the system takes it. No port: ICMP has none."""
    ip = socket.inet_pton(address.family, address.sockaddr[0])
    if address.family == socket.AF_INET:
        return ip, SOCKADDR_IN.pack(socket.AF_INET, 0, ip)
    zone = address.sockaddr[3] if len(address.sockaddr) == 4 else 0
    return ip, SOCKADDR_IN6.pack(socket.AF_INET6, 0, 0, ip, zone)
