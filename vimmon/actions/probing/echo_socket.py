"""One ICMP socket: which requests of it await a reply, and which reply or error belongs to which.

It promises that a reply counts only from the address that was asked, with the sequence number and the nonce that were
sent, and that an error about one address is never taken for one about another.
"""

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from vimmon.actions.probing import echo_packets
from vimmon.actions.probing.echo_opening import open_socket
from vimmon.actions.probing.echo_peer import Peer
from vimmon.actions.probing.reasons import refused
from vimmon.actions.probing.volleys import PACKET_MAX, VOLLEY_MAX, Volleys

VOLLEYS_A_READ = 4  # in one turn of the loop
ERRORS_A_READ = 256
ERROR_BYTES = 512
SEQUENCE_MAX = 0xFFFF
SEND_TRIES = 2
SENDS_MAX = 50  # errors of others may come faster than they are read
ASKER = attrgetter("asker")


class EchoSocket:
    """Make it inside the loop; close it there. Raises Trouble or OSError where it cannot be made."""

    def __init__(self, family: socket.AddressFamily, source: str | None) -> None:
        self.waiting: dict[int, Peer] = {}
        self.ending: dict[int, list[Sequence[Peer]]] = {}  # asked together; by the slot in which they end
        self.timer: asyncio.TimerHandle | None = None  # when the first of them have to be looked at
        self._loop = asyncio.get_running_loop()
        self._socket, self._raw = open_socket(family, source)
        self._ident = secrets.randbits(16)  # a datagram socket has one of the kernel's
        self._sequence = secrets.randbits(16)
        self._clock = time.monotonic  # asyncio's own, without the way through the loop
        self._request_type = echo_packets.REQUEST[family]
        self._has_ip_header = self._raw and family == socket.AF_INET
        self._volleys = Volleys(self._socket, ip_header=self._has_ip_header)
        self._loop.add_reader(self._socket, self.read)

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def send(self, peers: Sequence[Peer], now: float) -> list[tuple[Peer, Exception]]:
        """A request to each of at most VOLLEY_MAX, which waits from `now` on, in the loop's time. Given back are those
        that could not be sent, and why: they have to be told."""
        sequences = self._free_sequences(len(peers))
        self.waiting.update(zip(sequences, peers, strict=True))
        for peer, sequence in zip(peers, sequences, strict=True):
            peer.sequence, peer.socket, peer.sent_at = sequence, self, now
        packets = echo_packets.requests(self._request_type, self._ident, peers, checksum=self._has_ip_header)
        addresses = [peer.sockaddr for peer in peers]
        failed: list[tuple[Peer, Exception]] = []
        sent = 0
        while sent < len(peers):
            try:
                sent += self._volleys.send(packets[sent:], addresses[sent:])
                if sent < len(peers):
                    self._send_again(packets[sent], peers[sent])
            except Exception as trouble:  # noqa: BLE001  # it is told; a bug of one is not the others'
                failed.append((peers[sent], trouble))
            sent += 1
        return failed

    def _free_sequences(self, count: int) -> Sequence[int]:
        """The next that no request has which still waits."""
        after, sequence = range(self._sequence + 1, self._sequence + 1 + count), self._sequence
        if after[-1] <= SEQUENCE_MAX and self.waiting.keys().isdisjoint(after):  # nearly always
            self._sequence = after[-1]
            return after
        free: list[int] = []
        while len(free) < count:
            sequence = (sequence + 1) & SEQUENCE_MAX
            if sequence not in self.waiting:
                free.append(sequence)
        self._sequence = sequence
        return free

    def _send_again(self, packet: bytes, peer: Peer) -> None:
        """An error that another request had is raised by the next send, once: then it is tried again. It is this one's
        own when it is raised again though no other had any."""
        tries_left = SEND_TRIES
        for _ in range(SENDS_MAX):
            if self._read_errors():  # now: what a send has raised does not stop the reading of replies any more
                tries_left = SEND_TRIES
            if peer.socket is None:
                return  # it was this one's error, and is told; or it was cancelled by who was told of another's
            try:
                self._volleys.send_alone(packet, peer.sockaddr)
            except OSError as error:
                why, tries_left = error, tries_left - 1
            else:
                return
            if not tries_left:
                break
        peer.cancel()
        raise refused(why)

    def read(self, *, woken: bool = True) -> bool:
        """Hands out what has come, up to VOLLEYS_A_READ. Whether there may be more. `woken`: something has come, and be
        it an error."""
        for number in range(VOLLEYS_A_READ):
            try:
                count, came = self._volleys.receive()
            except (BlockingIOError, InterruptedError):
                if woken and not number:  # then it was an error that woke us
                    self._read_errors()
                return False
            except OSError:  # one of the errors: read now, or a stream of replies would keep them waiting
                self._read_errors()
                continue
            waiting, mine, raw = self.waiting, self._ident, self._raw
            replied = []
            for ident, sequence, nonce, ip in came:
                peer = waiting.get(sequence)
                if peer is not None and peer.nonce == nonce and peer.ip == ip and (ident == mine or not raw):
                    del waiting[sequence]
                    peer.socket = None
                    replied.append(peer)
            self._hand_out(replied, self._clock())
            if count < VOLLEY_MAX or not waiting:  # an error may have cut it short, but hardly ever did
                return bool(waiting)
        return True

    def _hand_out(self, replied: Sequence[Peer], at: float) -> None:
        """Tells of the replies. All turns are given back before: who is told may ask anew, or cancel another."""
        by_asker = [(asker, list(some)) for asker, some in groupby(replied, ASKER)]
        for asker, some in by_asker:
            if asker.turns is not None:
                asker.turns.give_back(len(some))
        for asker, some in by_asker:
            try:
                asker.replied(some, at)
            except Exception as bug:  # noqa: BLE001  # keeps nothing from the others
                self._loop.call_exception_handler({"message": "a bug in who was told of a reply", "exception": bug})

    def _read_errors(self) -> bool:
        """Empties the queue of errors: while one is in it, the socket calls for attention. Whether there were any."""
        found = False
        with contextlib.suppress(BlockingIOError, InterruptedError):
            for _ in range(ERRORS_A_READ):
                if self._socket.fileno() < 0:
                    break  # it was changed for another by who was told
                request, ancillary, _, target = self._socket.recvmsg(PACKET_MAX, ERROR_BYTES, socket.MSG_ERRQUEUE)
                found = True
                error = echo_packets.error_in(ancillary)
                if error is not None and target and len(request) >= 8:
                    self._blame(request, socket.inet_pton(self._socket.family, target[0].partition("%")[0]), error)
        return found

    def _blame(self, request: bytes, ip: bytes, error: OSError) -> None:
        ident, sequence = echo_packets.HEADER.unpack_from(request)
        peer = self.waiting.get(sequence)
        if peer is None or peer.ip != ip or (ident != self._ident and self._raw):
            return
        if request[8:16] in (peer.nonce.to_bytes(8, "big"), b""):  # a router may give back the header alone
            self.tell(peer, error)

    def tell(self, peer: Peer, why: Exception | None) -> None:
        """That its request has failed."""
        try:
            peer.fail(why)
        except Exception as bug:  # noqa: BLE001  # keeps nothing from the others
            self._loop.call_exception_handler({"message": "a bug in who was told of a request", "exception": bug})
