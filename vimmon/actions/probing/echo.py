"""All ICMP echo requests of one event loop: a socket for each family and source, and one timer for each socket.

A socket is changed for another now and then: its id would stick in the tables of a NAT on the way, with a mapping that
may have gone wrong.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from itertools import repeat
from typing import NamedTuple

from vimmon.actions.probing.echo_peer import Asker, Peer
from vimmon.actions.probing.echo_socket import EchoSocket
from vimmon.actions.probing.reasons import SHORTAGES
from vimmon.actions.probing.resolver import Address
from vimmon.actions.probing.volleys import VOLLEY_MAX

CHANGE_AFTER_S = 60.0
READS_MAX = 40  # of hundreds of packets: as much as the socket's buffer holds
AF_INET = socket.AF_INET
SLOT_S = 0.02  # how much longer than its time a request may wait: one timer for all that end in a slot


class _Current(NamedTuple):
    socket: EchoSocket
    change_at: float


class Echo:
    """Make it inside the loop that uses it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._current: dict[str | None, _Current] = {}  # of IPv4, by source
        self._current6: dict[str | None, _Current] = {}
        self._retired: set[EchoSocket] = set()

    async def ask(self, address: Address, source: str | None, timeout_s: float) -> float | None:
        """The round-trip time in s. None: no reply within `timeout_s`.

        Raises OSError when an error came instead, Trouble where this host may not ask.
        """
        reply: asyncio.Future[float | Exception | None] = self._loop.create_future()

        def replied(peers: Sequence[Peer], _: float) -> None:
            _settle(reply, peers[0].rtt_s)

        def failed(_: Peer, why: Exception | None) -> None:
            _settle(reply, why)

        peer = Peer(address, timeout_s, Asker(replied, failed))
        self.send([peer], source)
        chosen = peer.socket
        try:
            with nullcontext() if chosen is None else chosen.listening():
                found = await reply
        finally:
            peer.cancel()
            if chosen is not None:
                self._close_if_done(chosen)
        if isinstance(found, Exception):
            raise found
        return found

    def send(self, peers: Sequence[Peer], source: str | None = None) -> None:
        """A request to each, of which the asker is told once. What cannot be sent is told at once: an OSError, Trouble,
        or a bug."""
        families = {peer.family for peer in peers}
        failed: list[tuple[Peer, Exception]] = []
        for family in families:
            some = peers if len(families) == 1 else [peer for peer in peers if peer.family is family]
            try:
                chosen = self._choose(self._current if family is AF_INET else self._current6, family, source)
            except Exception as trouble:  # noqa: BLE001  # it is told
                for peer in some:
                    peer.give_back()
                failed += zip(some, repeat(trouble))
                continue
            for first in range(0, len(some), VOLLEY_MAX):
                volley, now = some[first : first + VOLLEY_MAX], self._now()
                failed += chosen.send(volley, now)
                self._note_ends(chosen, volley, now)
        if failed:
            with ExitStack() as telling:  # a bug in who is told keeps nothing from the others
                for peer, why in reversed(failed):
                    telling.callback(peer.fail, why)

    def read(self) -> None:
        """Tells of the replies that have come already. The loop tells of all, but has to wake for it."""
        for current in (self._current.get(None), self._current6.get(None)):
            if current is not None and current.socket.waiting:
                current.socket.read(woken=False)
        for retired in tuple(self._retired):
            retired.read(woken=False)

    def close(self) -> None:
        for each in (*(found.socket for found in (*self._current.values(), *self._current6.values())), *self._retired):
            each.close()
        for known in (self._current, self._current6, self._retired):
            known.clear()

    def _choose(
        self, current: dict[str | None, _Current], family: socket.AddressFamily, source: str | None
    ) -> EchoSocket:
        found = current.get(source)
        if found is not None and self._clock() < found.change_at:
            return found.socket
        try:
            return self._change(current, family, source).socket
        except OSError as error:
            if found is None or error.errno not in SHORTAGES:
                raise
            return found.socket  # rather under an old id than not at all

    def _note_ends(self, chosen: EchoSocket, volley: Sequence[Peer], sent_at: float) -> None:
        timeouts_s = {peer.timeout_s for peer in volley}
        for timeout_s in timeouts_s:
            some = volley if len(timeouts_s) == 1 else [peer for peer in volley if peer.timeout_s == timeout_s]
            slot = _slot_after(sent_at + timeout_s)
            chosen.ending.setdefault(slot, []).append(some)
            if chosen.timer is None or slot * SLOT_S < chosen.timer.when():
                self._wake_at(chosen, slot)

    def _change(
        self, current: dict[str | None, _Current], family: socket.AddressFamily, source: str | None
    ) -> _Current:
        new = _Current(EchoSocket(family, source), self._clock() + CHANGE_AFTER_S)
        old = current.get(source)
        current[source] = new
        if old is not None:
            if old.socket.waiting:
                self._retired.add(old.socket)
            else:
                old.socket.close()
        return new

    def _wake_at(self, chosen: EchoSocket, slot: int) -> None:
        if chosen.timer is not None:
            chosen.timer.cancel()
        chosen.timer = self._loop.call_at(slot * SLOT_S, self._end, chosen)

    def _end(self, chosen: EchoSocket) -> None:
        """Ends the waiting whose time is over, and wakes again for the next that still waits: not for who was answered.

        What has arrived already counts: if it was read late, that was our own fault.
        """
        late: list[Peer] = []
        now, chosen.timer = self._now(), None
        if not chosen.waiting:
            chosen.ending.clear()
        for slot in sorted(chosen.ending):
            left = [
                peer
                for volley in chosen.ending[slot]
                for peer in volley
                if peer.socket is chosen and _slot_after(peer.sent_at + peer.timeout_s) <= slot  # it may be asked anew
            ]
            if left and slot * SLOT_S > now:
                self._wake_at(chosen, slot)
                break
            late += left
            del chosen.ending[slot]
        if late:
            asked = [(peer, peer.sequence) for peer in late]
            for _ in range(READS_MAX):
                if not chosen.read() or not chosen.waiting:
                    break
            for peer, sequence in asked:
                if peer.socket is chosen and peer.sequence == sequence:  # not asked anew by who was told of a reply
                    chosen.tell(peer, None)
        self._close_if_done(chosen)

    def _close_if_done(self, chosen: EchoSocket) -> None:
        if not chosen.waiting and chosen in self._retired:
            self._retired.remove(chosen)
            chosen.close()


def _slot_after(when: float) -> int:
    """The slot that begins after it; or at it, as numbers are rounded."""
    return int(when / SLOT_S) + 1


def _settle(reply: "asyncio.Future[float | Exception | None]", found: float | Exception | None) -> None:
    if not reply.done():
        reply.set_result(found)
