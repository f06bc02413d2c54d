"""Who may make a TLS handshake when: those that hang take no turn for long from those that do not.

A handshake that takes longer than `QUICK_S` goes on in a lane of its own, and the next one with the same server begins
there, until one is quick again.
"""

import asyncio

from vimmon.actions.probing.turns import Turns

QUICK_S = 0.5
SLOW_LANE = 4  # times as many turns as the quick one
SERVERS_MAX = 10_000


class Handshakes:
    """For one event loop. `count` quick ones at once."""

    def __init__(self, count: int) -> None:
        self.quick = Turns(count)
        self.slow = Turns(count * SLOW_LANE)
        self.moving: dict[HandshakeTurn, None] = {}  # those that keep a quick turn until there is a slow one
        self._slow_servers: dict[str, None] = {}

    @property
    def running(self) -> int:
        return self.quick.running + self.slow.running

    @property
    def waiting(self) -> int:
        return self.quick.waiting + self.slow.waiting

    def turn(self, server: str) -> "HandshakeTurn":
        return HandshakeTurn(self, server, self.slow if server in self._slow_servers else self.quick)

    def give_back_slow(self) -> None:
        """First to whoever keeps a quick turn from others."""
        if self.moving:
            following = next(iter(self.moving))
            del self.moving[following]
            following.move()
        else:
            self.slow.give_back()

    def learn(self, server: str, *, was_quick: bool) -> None:
        self._slow_servers.pop(server, None)
        if not was_quick:
            self._slow_servers[server] = None
            if len(self._slow_servers) > SERVERS_MAX:
                del self._slow_servers[next(iter(self._slow_servers))]


class HandshakeTurn:
    """Take it, in one way or the other; and then use it as a context, once."""

    def __init__(self, shared: Handshakes, server: str, lane: Turns) -> None:
        self._shared = shared
        self._server = server
        self._lane = lane
        self.take_now = lane.take_now
        self.take = lane.take

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        self._timer = loop.call_later(QUICK_S, self._make_room)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._shared.moving.pop(self, None)
        if self._lane is self._shared.slow:
            self._shared.give_back_slow()
        else:
            self._lane.give_back()
        was_quick = asyncio.get_running_loop().time() - self._began < QUICK_S
        self._shared.learn(self._server, was_quick=was_quick)

    def _make_room(self) -> None:
        """To the other lane, as soon as there is room: no more run at once than the lanes have turns."""
        if self._lane is self._shared.slow:
            return
        if self._shared.slow.take_now():
            self.move()
        else:
            self._shared.moving[self] = None

    def move(self) -> None:
        """With a slow turn that was taken for it."""
        self._lane.give_back()
        self._lane = self._shared.slow
