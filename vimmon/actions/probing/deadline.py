"""The end of a probe's time, which spares what has arrived by then: if it is read late, that is this process's fault.

An event loop that was held up sees an answer and the end of the time in the same turn. What the answer wakes needs some
more turns until it has drawn its conclusion; these it gets. And when it was held up for long, the VIM gets that time
again, once: it may have been waiting for a word of ours, as in a TLS handshake.
"""

import asyncio
from types import TracebackType
from typing import Self

TURNS = 8  # more than an HTTP answer takes
LATE_S = 0.1
AGAIN_MAX_S = 5.0


class Deadline:
    """A context that ends with TimeoutError when the loop's time is `when`; with None, never."""

    __slots__ = ("_handle", "_loop", "_timeout", "_was_late", "_when")

    def __init__(self, when: float | None) -> None:
        self._when = when
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self._handle: asyncio.Handle | None = None
        self._was_late = False

    def reschedule(self, when: float | None) -> None:
        """May be used within the context only."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None if when is None else self._loop.call_at(when, self._is_over, when)

    def _is_over(self, when: float) -> None:
        now = self._loop.time()
        if now - when > LATE_S and not self._was_late:
            self._was_late = True
            self.reschedule(now + min(now - when, AGAIN_MAX_S))
        else:
            self._end(TURNS)

    def _end(self, turns_left: int) -> None:
        if turns_left:
            self._handle = self._loop.call_soon(self._end, turns_left - 1)
        else:
            self._timeout.reschedule(self._loop.time())

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self.reschedule(self._when)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reschedule(None)
        await self._timeout.__aexit__(kind, error, trace)
