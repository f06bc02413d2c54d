"""One ICMP socket: which requests of it await a reply, and which reply or error belongs to which.

It promises that a reply counts only from the address that was asked, with the sequence number and the nonce that were
sent, and that an error about one address is never taken for one about another.
"""

import asyncio
import contextlib
import secrets
import socket
import time
from array import array
from collections.abc import Callable, Iterable

from vimmon.actions.probing import echo_packets
from vimmon.actions.probing.echo_opening import open_socket
from vimmon.actions.probing.reasons import refused
from vimmon.actions.probing.resolver import Address
from vimmon.actions.probing.turns import Turns

PACKET_MAX = 256
READS_MAX = 256  # in one turn of the loop
SEND_TRIES = 3
NONCES = 512
ECHO_BYTES = echo_packets.ECHO.size

Told = Callable[[float | Exception | None], None]  # the round-trip time in s, an error, or None: the time is over


class Peer:
    """Somebody who is asked, one request at a time. It is made once and asked often: it keeps what every request needs.

    While a request waits, `socket` is the one it was sent by; it has its `turn` until then, if it needs one.
    """

    __slots__ = (
        "ends_at",
        "family",
        "ip",
        "nonce",
        "sent_at",
        "sequence",
        "sockaddr",
        "socket",
        "timeout_s",
        "told",
        "turn",
    )

    def __init__(self, address: Address, timeout_s: float, told: Told) -> None:
        ip, _, *zone = address.sockaddr
        self.family = address.family
        self.ip = ip
        self.sockaddr = (ip, 0, *zone)
        self.timeout_s = timeout_s
        self.told = told
        self.socket: EchoSocket | None = None
        self.turn: Turns | None = None
        self.sequence = 0
        self.nonce = 0
        self.sent_at = 0.0
        self.ends_at = 0.0

    def tell(self, found: float | Exception | None) -> None:
        """What came of the request, which waits no more."""
        self.cancel()
        self.told(found)

    def cancel(self) -> None:
        """Lets go of the request that waits, if one does: nothing is told of it."""
        if self.socket is not None:
            del self.socket.waiting[self.sequence]
            self.socket = None
        if self.turn is not None:
            self.turn.give_back()
            self.turn = None


class EchoSocket:
    """Make it inside the loop; close it there. Raises Trouble or OSError where it cannot be made."""

    def __init__(self, family: socket.AddressFamily, source: str | None) -> None:
        self.waiting: dict[int, Peer] = {}
        self.ending: dict[int, list[int]] = {}  # sequence numbers by slot of time: all that stays of what was answered
        self.timer: asyncio.TimerHandle | None = None  # when the first of them has to be looked at
        self._loop = asyncio.get_running_loop()
        self._socket, self._raw = open_socket(family, source)
        self._ident = secrets.randbits(16)  # a datagram socket has one of the kernel's
        self._sequence = secrets.randbits(16)
        self._nonces: list[int] = []  # nobody can guess them; the system is asked for many at once
        self._clock = time.monotonic  # asyncio's own, without the way through the loop
        self._request_type = echo_packets.REQUEST[family]
        self._has_ip_header = self._raw and family == socket.AF_INET
        self._loop.add_reader(self._socket, self.read)

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def send(self, peers: Iterable[Peer]) -> list[tuple[Peer, Exception]]:
        """A request to each, which waits from now on. Given back are those that could not be sent, and why: they have
        to be told."""
        waiting, clock, send, request = self.waiting, self._clock, self._socket.sendto, echo_packets.request
        kind, ident, checksum = self._request_type, self._ident, self._has_ip_header
        failed: list[tuple[Peer, Exception]] = []
        for peer in peers:
            sequence = self._sequence
            while (sequence := (sequence + 1) & 0xFFFF) in waiting:
                pass
            self._sequence = peer.sequence = sequence
            if not self._nonces:
                self._nonces = array("Q", secrets.token_bytes(8 * NONCES)).tolist()
            peer.nonce = nonce = self._nonces.pop()
            packet = request(kind, ident, sequence, nonce, checksum=checksum)
            waiting[sequence] = peer
            peer.socket = self
            peer.sent_at = now = clock()
            peer.ends_at = now + peer.timeout_s
            try:
                try:
                    send(packet, peer.sockaddr)
                except OSError:
                    self._send_again(packet, peer)
            except Exception as trouble:  # noqa: BLE001  # it is told; a bug of one is not the others'
                failed.append((peer, trouble))
        return failed

    def _send_again(self, packet: bytes, peer: Peer) -> None:
        """An error that another request had is raised by the next send, once: then it is tried again."""
        for tries_left in reversed(range(SEND_TRIES - 1)):
            self._read_errors()  # now: what a send has raised does not stop the reading of replies any more
            if peer.socket is None:
                return  # it was this one's error, and is told
            try:
                self._socket.sendto(packet, peer.sockaddr)
            except OSError as error:
                if not tries_left:
                    peer.cancel()
                    raise refused(error) from None
            else:
                return

    def read(self) -> bool:
        """Hands out what has come, up to READS_MAX. Whether there may be more."""
        receive, clock, waiting = self._socket.recvfrom, self._clock, self.waiting
        reply, least, raw, has_ip_header = echo_packets.REPLY_TO.unpack_from, ECHO_BYTES, self._raw, self._has_ip_header
        replied: list[tuple[Peer, float]] = []
        more = True
        for count in range(READS_MAX):
            try:
                packet, sender = receive(PACKET_MAX)
            except (BlockingIOError, InterruptedError):
                if not count:  # then it was an error that woke us
                    self._read_errors()
                more = False
                break
            except OSError:  # one of the errors: read now, or a stream of replies would keep them waiting
                self._read_errors()
                continue
            at = (packet[0] & 0x0F) * 4 if has_ip_header and packet else 0
            if len(packet) >= at + least:
                ident, sequence, nonce = reply(packet, at)
                peer = waiting.get(sequence)
                if (
                    peer is not None
                    and peer.nonce == nonce
                    and peer.ip == sender[0]
                    and (ident == self._ident or not raw)
                ):
                    del waiting[sequence]
                    peer.socket = None
                    replied.append((peer, clock() - peer.sent_at))
            if not waiting:
                more = False  # nothing can come that matters: saves a call that finds nothing
                break
        self._hand_out(replied)
        return more

    def _hand_out(self, replied: list[tuple[Peer, float]]) -> None:
        """Tells each of its reply. All turns are given back before: who is told may ask anew, or cancel another."""
        turns = [peer.turn for peer, _ in replied if peer.turn is not None]
        for peer, _ in replied:
            peer.turn = None
        for each in set(turns):
            each.give_back(turns.count(each))
        for peer, rtt_s in replied:
            try:
                peer.told(rtt_s)
            except Exception as bug:  # noqa: BLE001  # keeps nothing from the others
                self._loop.call_exception_handler({"message": "a bug in who was told of a reply", "exception": bug})

    def _read_errors(self) -> None:
        """Empties the queue of errors: while one is in it, the socket calls for attention."""
        with contextlib.suppress(BlockingIOError, InterruptedError):
            for _ in range(READS_MAX):
                request, ancillary, _, target = self._socket.recvmsg(PACKET_MAX, 512, socket.MSG_ERRQUEUE)
                error = echo_packets.error_in(ancillary)
                if error is not None and target and len(request) >= 8:
                    self._blame(request, target[0], error)

    def _blame(self, request: bytes, ip: str, error: OSError) -> None:
        ident, sequence = echo_packets.HEADER.unpack_from(request)
        peer = self.waiting.get(sequence)
        if peer is None or peer.ip != ip or (ident != self._ident and self._raw):
            return
        if request[8:16] in (peer.nonce.to_bytes(8, "big"), b""):  # a router may give back the header alone
            peer.tell(error)
