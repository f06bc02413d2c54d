"""The threads that look names up. A name that hangs takes its thread along, and another takes that one's place.

From then on it is looked up apart from the others, until it is quick again: names that hang keep new ones waiting for a
moment, and not for as long as they hang.
"""

import asyncio
import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from vimmon.actions.probing.reasons import Trouble, cannot_probe

SLOW_S = 0.5
SLOW_THREADS = 32
STUCK_MAX = 128  # threads that were replaced, and have not come back
HANGS_MAX = 10_000

GetAddrInfo = Callable[..., list[tuple[Any, ...]]]
Finished = Callable[[str, "list[tuple[Any, ...]] | Exception"], None]


class _Lane:
    def __init__(self, threads_max: int) -> None:
        self.threads_max = threads_max
        self.threads = 0
        self.asked: set[str] = set()
        self.jobs: queue.SimpleQueue[str | None] = queue.SimpleQueue()


class Lookups:
    """For one event loop, in which `finished` is told. A name must not be asked for again before it is finished."""

    def __init__(self, getaddrinfo: GetAddrInfo, threads: int, finished: Finished) -> None:
        self._getaddrinfo = getaddrinfo
        self._finished = finished
        self._loop = asyncio.get_running_loop()
        self._quick = _Lane(threads)
        self._slow = _Lane(SLOW_THREADS)
        self._hangs: dict[str, None] = {}  # names whose last lookup was slow
        self._lock = threading.Lock()  # for the next two
        self._began: dict[str, float] = {}  # by time.monotonic, of those that have a thread
        self._stuck: set[str] = set()  # of these, those whose thread was replaced

    def look_up(self, name: str) -> None:
        """Raises Trouble where no thread can be had."""
        lane = self._slow if name in self._hangs else self._quick
        if lane.threads < min(lane.threads_max, len(lane.asked) + 1):
            self._add_thread(lane)
        lane.asked.add(name)
        lane.jobs.put(name)
        self._loop.call_later(SLOW_S, self._look_after, lane, name)

    def close(self) -> None:
        """Lets the threads end. One that hangs in a lookup does not hold up the process's exit."""
        for lane in (self._quick, self._slow):
            for _ in range(lane.threads):
                lane.jobs.put(None)

    def _look_after(self, lane: _Lane, name: str) -> None:
        """Replaces the thread of a name that hangs."""
        if name not in lane.asked:
            return
        with self._lock:
            left_s = SLOW_S - (time.monotonic() - self._began[name]) if name in self._began else SLOW_S
            hangs = left_s <= 0 and lane is self._quick
            stuck = hangs and len(self._stuck) < STUCK_MAX
            if stuck:
                self._stuck.add(name)
        if hangs and not stuck:
            left_s = SLOW_S  # too many are stuck now: some may come back before this one does
        if left_s > 0:
            self._loop.call_later(left_s, self._look_after, lane, name)
        elif stuck:
            lane.asked.discard(name)
            lane.threads -= 1
            if len(lane.asked) > lane.threads:
                with contextlib.suppress(Trouble):
                    self._add_thread(lane)

    def _add_thread(self, lane: _Lane) -> None:
        thread = threading.Thread(target=self._work, args=(lane,), name="vimmon-resolver", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # "can't start new thread": the others will do, if there are any
            if not lane.threads:
                raise Trouble(cannot_probe("no thread can be started to look names up")) from None
        else:
            lane.threads += 1

    def _work(self, lane: _Lane) -> None:
        replaced = False
        while not replaced and (name := lane.jobs.get()) is not None:
            began = time.monotonic()
            with self._lock:
                self._began[name] = began
            found: list[tuple[Any, ...]] | Exception
            try:
                # Bytes: the idna codec has nothing to do with a name that is ASCII already.
                found = self._getaddrinfo(name.encode(), None, type=socket.SOCK_STREAM)
            except Exception as error:  # noqa: BLE001 - told to those who wait, in the loop
                found = error
            with self._lock:
                del self._began[name]
                replaced = name in self._stuck
                self._stuck.discard(name)
            slow = time.monotonic() - began >= SLOW_S
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits
                self._loop.call_soon_threadsafe(self._finish, lane, name, found, slow)

    def _finish(self, lane: _Lane, name: str, found: list[tuple[Any, ...]] | Exception, slow: bool) -> None:
        lane.asked.discard(name)
        self._hangs.pop(name, None)
        if slow:
            self._hangs[name] = None
            if len(self._hangs) > HANGS_MAX:
                del self._hangs[next(iter(self._hangs))]
        self._finished(name, found)
