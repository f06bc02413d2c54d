"""The TLS contexts of a prober: one for each way to verify and to introduce oneself, made anew when a file changes.

With the system's CAs one takes 100 ms to make, and some MiB: never one for each probe. Files are looked at in threads:
on a network file system that hangs, whoever reads may hang for ever, and nobody else must wait behind that.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass

from vimmon.actions.probing.reasons import Trouble, cannot_probe
from vimmon.actions.probing.tls_files import How, Made, look
from vimmon.probes import HttpProbe

CONTEXTS_MAX = 1000
LOOK_AFTER_S = 3.0  # whether a file has changed, or one that was unusable still is
READING_S = 2.0
READING_MAX = 500  # threads: one for each way, while it is under way or hangs


@dataclass
class _Reading:
    """A look at the files that is under way. `what` its thread does is told when it takes too long."""

    until: float  # by the loop's clock
    made: asyncio.Future[Made]
    what: str = "the files of TLS takes too long"

    def note(self, what: str) -> None:
        self.what = what


class TlsContexts:
    """Make it inside the loop that uses it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._made: dict[How, tuple[Made, float]] = {}  # and when to look again
        self._readings: dict[How, _Reading] = {}

    async def of(self, probe: HttpProbe) -> ssl.SSLContext:
        """Raises Trouble where this host lacks what the context needs, until it is there.

        A good context stays in use while its files cannot be read because that hangs.
        """
        return await self._get(How(probe.verify, probe.ca_file, probe.client_cert_file, probe.client_key_file))

    async def unverified(self) -> ssl.SSLContext:
        """One that believes any certificate, to look at one that was refused."""
        return await self._get(How(verify=False))

    async def _get(self, how: How) -> ssl.SSLContext:
        made, look_at = self._made.get(how, (None, 0.0))
        if made is None or self._clock() >= look_at:
            reading = self._readings.get(how) or self._begin(how, made)
            await asyncio.wait((reading.made,), timeout=max(0.0, reading.until - self._loop.time()))
            if reading.made.done():
                made = reading.made.result()
            elif made is None or not isinstance(made.context, ssl.SSLContext):
                raise Trouble(cannot_probe(f"reading {reading.what}"))
        if not isinstance(made.context, ssl.SSLContext):
            raise Trouble(made.context)
        return made.context

    def _begin(self, how: How, before: Made | None) -> _Reading:
        if len(self._readings) >= READING_MAX:
            raise Trouble(cannot_probe(f"reading the files of TLS takes too long, for {READING_MAX} probes"))
        reading = _Reading(self._loop.time() + READING_S, self._loop.create_future())
        thread = threading.Thread(target=self._work, args=(how, before, reading), name="vimmon-tls-files", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # "can't start new thread"
            raise Trouble(cannot_probe("no thread can be started to read the files of TLS")) from None
        self._readings[how] = reading
        return reading

    def _work(self, how: How, before: Made | None, reading: _Reading) -> None:
        found: Made | Exception
        try:
            found = look(how, before, reading.note)
        except Exception as error:  # noqa: BLE001 - a bug, for those who wait in the loop
            found = error
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits
            self._loop.call_soon_threadsafe(self._finish, how, found)

    def _finish(self, how: How, found: Made | Exception) -> None:
        reading = self._readings.pop(how)
        if isinstance(found, Exception):
            reading.made.set_exception(found)
            return
        self._made.pop(how, None)
        self._made[how] = found, self._clock() + LOOK_AFTER_S
        if len(self._made) > CONTEXTS_MAX:
            del self._made[next(iter(self._made))]
        reading.made.set_result(found)
