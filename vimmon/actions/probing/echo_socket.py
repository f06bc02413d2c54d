"""One ICMP socket: which requests of it await a reply, and which reply or error belongs to which.

It promises that a reply counts only from the address that was asked, with the sequence number and the nonce that were
sent, and that an error about one address is never taken for one about another. How long a reply took is what the kernel
says, whenever it is read: so those of many hosts, which come one by one, are read together.
"""

import asyncio
import contextlib
import math
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
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
JUST_S = 0.002  # how long a reply took that is read so soon after its request is told without the kernel's stamp
CROWD, FEW, PAUSE_S = 32, 16, 0.1  # more wait than that; fewer have come than that; how long nobody listens then
REPLY_BYTES = 1024  # of the socket's buffer, and some to spare
SET_S = 0.001  # a clock that has moved so much against the other was set
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
        self._clock, self._day_clock = time.monotonic, time.time  # asyncio's own; and the kernel's, for its stamps
        self._request_type = echo_packets.REQUEST[family]
        self._has_ip_header = self._raw and family == socket.AF_INET
        self._volleys = Volleys(self._socket, ip_header=self._has_ip_header)
        self._ahead_s, self._set_at = self._day_clock() - self._clock(), -math.inf
        self._crowd_max = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // REPLY_BYTES
        self._awaited = 0
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._socket, self._wake)

    def close(self) -> None:
        for timer in (self.timer, self._pause):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def send(self, peers: Sequence[Peer], now: float) -> list[tuple[Peer, Exception]]:
        """A request to each of at most VOLLEY_MAX, which waits from `now` on, in the loop's time. Given back are those
        that could not be sent, and why: they have to be told."""
        sequences = self._free_sequences(len(peers))
        self.waiting.update(zip(sequences, peers, strict=True))
        for peer, sequence in zip(peers, sequences, strict=True):
            peer.sequence, peer.socket, peer.sent_at = sequence, self, now
        if len(self.waiting) >= self._crowd_max:
            self._listen()
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

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Replies are told as they come: somebody awaits one."""
        self._awaited += 1
        self._listen()
        try:
            yield
        finally:
            self._awaited -= 1

    def _listen(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
            self._loop.add_reader(self._socket, self._wake)

    def _wake(self) -> None:
        """Something has come. While many wait, and their replies come one by one, the loop does not wake for each of
        them, which would cost more than all else that is done with it: unless somebody awaits one, or the buffer might
        not hold them all."""
        if self.read() < FEW and CROWD < len(self.waiting) < self._crowd_max and not self._awaited:
            self._loop.remove_reader(self._socket)
            self._pause = self._loop.call_later(PAUSE_S, self._listen)

    def read(self, *, woken: bool = True) -> int:
        """Hands out what has come, up to VOLLEYS_A_READ. How many replies and errors that was: there may be more,
        unless it was none. `woken`: something has come, and be it an error."""
        read = 0
        for volley in range(VOLLEYS_A_READ):
            try:
                count, came = self._volleys.receive()
            except (BlockingIOError, InterruptedError):
                if woken and not volley:  # then it was an error that woke us
                    read += self._read_errors()
                return read
            except OSError:  # one of the errors: read now, or a stream of replies would keep them waiting
                read += self._read_errors() + 1
                continue
            read += count
            waiting, mine, raw = self.waiting, self._ident, self._raw
            now = self._clock()
            replied = []
            for number, (ident, sequence, nonce, ip) in enumerate(came):
                peer = waiting.get(sequence)
                if peer is not None and peer.nonce == nonce and peer.ip == ip and (ident == mine or not raw):
                    del waiting[sequence]
                    peer.socket = None
                    rtt_s = now - peer.sent_at
                    peer.rtt_s = rtt_s if rtt_s < JUST_S else self._stamped_rtt_s(number, peer.sent_at)
                    replied.append(peer)
            self._hand_out(replied, now)
            if count < VOLLEY_MAX or not waiting:  # an error may have cut it short, but hardly ever did
                return read
        return read

    def _stamped_rtt_s(self, number: int, sent_at: float) -> float:
        """Until it came; where a clock was set meanwhile, or it has no stamp, until now."""
        day_s, now = self._day_clock(), self._clock()
        if abs(day_s - now - self._ahead_s) > SET_S:
            self._ahead_s, self._set_at = day_s - now, now
        late_s, since_s = day_s - self._volleys.came_at(number), now - sent_at
        return since_s - late_s if 0 < late_s < since_s and sent_at > self._set_at else since_s

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

    def _read_errors(self) -> int:
        """Empties the queue of errors: while one is in it, the socket calls for attention. How many there were."""
        found = 0
        with contextlib.suppress(BlockingIOError, InterruptedError):
            for _ in range(ERRORS_A_READ):
                if self._socket.fileno() < 0:
                    break  # it was changed for another by who was told
                request, ancillary, _, target = self._socket.recvmsg(PACKET_MAX, ERROR_BYTES, socket.MSG_ERRQUEUE)
                found += 1
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
