"""All ICMP echo requests of one event loop: a socket for each family and source, and one timer for each socket.

A socket is changed for another now and then: its id would stick in the tables of a NAT on the way, with a mapping that
may have gone wrong.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import repeat
from typing import NamedTuple

from vimmon.actions.probing.echo_socket import EchoSocket, Peer
from vimmon.actions.probing.resolver import Address

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
        self._current: dict[str | None, _Current] = {}  # of IPv4, by source
        self._current6: dict[str | None, _Current] = {}
        self._retired: set[EchoSocket] = set()

    async def ask(self, address: Address, source: str | None, timeout_s: float) -> float | None:
        """The round-trip time in s. None: no reply within `timeout_s`.

        Raises OSError when an error came instead, Trouble where this host may not ask.
        """
        reply: asyncio.Future[float | Exception | None] = self._loop.create_future()
        peer = Peer(address, timeout_s, partial(_settle, reply))
        self.send([peer], source)
        chosen = peer.socket
        try:
            found = await reply
        finally:
            peer.cancel()
            if chosen is not None:
                self._close_if_done(chosen)
        if isinstance(found, Exception):
            raise found
        return found

    def send(self, peers: Sequence[Peer], source: str | None = None) -> None:
        """A request to each, of which the peer is told once. What cannot be sent is told at once: an OSError, Trouble,
        or a bug."""
        of_ipv4 = [peer for peer in peers if peer.family is AF_INET]
        others = [peer for peer in peers if peer.family is not AF_INET] if len(of_ipv4) < len(peers) else []
        failed: list[tuple[Peer, Exception]] = []
        for some, current in ((of_ipv4, self._current), (others, self._current6)):
            if not some:
                continue
            try:
                chosen = self._choose(current, some[0].family, source)
            except Exception as trouble:  # noqa: BLE001  # it is told
                failed += zip(some, repeat(trouble))
            else:
                failed += chosen.send(some)
                self._note_ends(chosen, some)
        if failed:
            with ExitStack() as telling:  # a bug in who is told keeps nothing from the others
                for peer, why in reversed(failed):
                    telling.callback(peer.tell, why)

    def close(self) -> None:
        for each in (*(found.socket for found in (*self._current.values(), *self._current6.values())), *self._retired):
            each.ending.clear()
            each.close()
        for known in (self._current, self._current6, self._retired):
            known.clear()

    def _choose(
        self, current: dict[str | None, _Current], family: socket.AddressFamily, source: str | None
    ) -> EchoSocket:
        found = current.get(source)
        if found is None or self._clock() >= found.change_at:
            found = self._change(current, family, source)
        return found.socket

    def _note_ends(self, chosen: EchoSocket, peers: Sequence[Peer]) -> None:
        ending, noted = chosen.ending, -1
        for peer in peers:
            if peer.socket is not chosen:
                continue  # an error has come already
            slot = int(peer.ends_at / SLOT_S) + 1
            if slot != noted:  # hardly ever in those of one go
                noted, sequences = slot, ending.setdefault(slot, [])
                if chosen.timer is None or slot * SLOT_S < chosen.timer.when():
                    self._wake_at(chosen, slot)
            sequences.append(peer.sequence)

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
        late: list[int] = []
        now, chosen.timer = self._loop.time(), None
        for slot in sorted(chosen.ending):
            left = [sequence for sequence in chosen.ending[slot] if sequence in chosen.waiting]
            if left and slot * SLOT_S > now:
                self._wake_at(chosen, slot)
                break
            # Or equal: the slot after that of a time may begin at that very time, as numbers are rounded.
            late += [sequence for sequence in left if chosen.waiting[sequence].ends_at <= slot * SLOT_S]
            del chosen.ending[slot]
        if late:
            for _ in range(READS_MAX):
                if not chosen.read():
                    break
            for sequence in late:
                if peer := chosen.waiting.get(sequence):
                    peer.tell(None)
        self._close_if_done(chosen)

    def _close_if_done(self, chosen: EchoSocket) -> None:
        if not chosen.waiting and chosen in self._retired:
            self._retired.remove(chosen)
            chosen.close()


def _settle(reply: "asyncio.Future[float | Exception | None]", found: float | Exception | None) -> None:
    if not reply.done():
        reply.set_result(found)
