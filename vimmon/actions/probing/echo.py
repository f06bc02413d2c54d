"""All ICMP echo requests of one event loop: a socket for each family and source, and one timer for many requests.

A socket is changed for another now and then: its id would stick in the tables of a NAT on the way, with a mapping that
may have gone wrong.
"""

import asyncio
import socket
from collections.abc import Callable

from vimmon.actions.probing.echo_socket import EchoSocket, Waiting
from vimmon.actions.probing.resolver import Address

CHANGE_AFTER_S = 60.0
READS_MAX = 40  # of hundreds of packets: as much as the socket's buffer holds
SLOT_S = 0.02  # how much longer than its time a request may wait: one timer for all that end in a slot


class Echo:
    """Make it inside the loop that uses it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[tuple[socket.AddressFamily, str | None], tuple[EchoSocket, float]] = {}
        self._ending: dict[int, list[tuple[EchoSocket, Waiting]]] = {}  # by slot
        self._retired: set[EchoSocket] = set()

    async def ask(self, address: Address, source: str | None, timeout_s: float) -> float | None:
        """The round-trip time in s. None: no reply within `timeout_s`.

        Raises OSError when an error came instead, Trouble where this host may not ask.
        """
        chosen, change_at = self._sockets.get((address.family, source)) or (None, 0.0)
        if chosen is None or self._clock() >= change_at:
            chosen = self._change(address.family, source, chosen)
        sequence = chosen.send(address)
        waiting = chosen.waiting[sequence]
        self._end_later(chosen, waiting, timeout_s)
        try:
            return await waiting.reply
        finally:
            del chosen.waiting[sequence]
            if chosen in self._retired and not chosen.waiting:
                self._retired.remove(chosen)
                chosen.close()

    def close(self) -> None:
        for each, _ in self._sockets.values():
            each.close()
        for each in self._retired:
            each.close()
        self._sockets.clear()
        self._retired.clear()
        self._ending.clear()

    def _change(self, family: socket.AddressFamily, source: str | None, old: EchoSocket | None) -> EchoSocket:
        new = EchoSocket(family, source, self._clock)
        self._sockets[family, source] = new, self._clock() + CHANGE_AFTER_S
        if old is not None:
            if old.waiting:
                self._retired.add(old)
            else:
                old.close()
        return new

    def _end_later(self, chosen: EchoSocket, waiting: Waiting, timeout_s: float) -> None:
        slot = int((self._loop.time() + timeout_s) / SLOT_S) + 1
        ending = self._ending.get(slot)
        if ending is None:
            ending = self._ending[slot] = []
            self._loop.call_at(slot * SLOT_S, self._end, slot)
        ending.append((chosen, waiting))

    def _end(self, slot: int) -> None:
        """Ends the waiting of a slot. What has arrived already counts: if it was read late, that was our own fault."""
        late = [(chosen, waiting) for chosen, waiting in self._ending.pop(slot, ()) if not waiting.reply.done()]
        for chosen in {chosen for chosen, _ in late}:
            for _ in range(READS_MAX):
                if not chosen.read():
                    break
        for _, waiting in late:
            if not waiting.reply.done():
                waiting.reply.set_result(None)
