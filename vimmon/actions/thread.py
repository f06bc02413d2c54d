"""The thread on which an executor process runs its host, made lazily in the process that runs the action.

Mistral's executor forks its workers: a loop made before the fork would be lost in them.
"""

import asyncio
import logging
import os
import threading

from vimmon.actions.connection import connect
from vimmon.actions.host import Host
from vimmon.actions.monitor import Assignment
from vimmon.actions.presence import new_executor_id
from vimmon.actions.probing import Prober
from vimmon.errors import VimmonError
from vimmon.log import event
from vimmon.settings import Settings, load_settings

log = logging.getLogger(__name__)

START_TIMEOUT_S = 10.0
REMEDY = "Read this executor's log, and restart it"


class HostThread:
    """A host on a daemon thread. Raises SettingsError, or VimmonError where the host cannot be made."""

    def __init__(self, settings: Settings) -> None:
        self.executor_id = new_executor_id(settings.executor_name)
        self.pid = os.getpid()
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._host: Host | None = None
        self._trouble: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vimmon-host", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the process has too many threads
            self._loop.close()
            raise VimmonError(f"the monitors' thread did not start: {error}", remedy=REMEDY) from error
        self._ready.wait(START_TIMEOUT_S)
        if self._host is None:
            if self._trouble is not None:
                self._thread.join(START_TIMEOUT_S)
            if isinstance(self._trouble, VimmonError):
                raise self._trouble
            why = self._trouble or f"not ready within {START_TIMEOUT_S:g} s"
            raise VimmonError(f"the monitors' event loop did not start: {why}", remedy=REMEDY) from self._trouble

    def take_on(self, assignment: Assignment) -> None:
        """Hands the assignment over to the loop.

        Raises VimmonError also where Redis has taken no heartbeat for so long that this executor counts as dead: of
        what it took on now nobody would know, and another executor may be better off.
        """
        try:
            if self._host is None or not self.alive:
                raise RuntimeError("it has ended")
            if self._host.silent_s > self._settings.executor_ttl_s:
                raise VimmonError(
                    f"this executor has not reached Redis for {self._host.silent_s:.0f} s",
                    remedy="Look at its network and at Redis; it goes on by itself when it reaches it again",
                )
            self._loop.call_soon_threadsafe(self._host.take_on, assignment)
        except RuntimeError as error:  # it may also end just now
            raise VimmonError(f"the monitors' event loop does not run: {error}", remedy=REMEDY) from error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and self.pid == os.getpid()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # nobody awaits this thread
            self._trouble = error
            if not isinstance(error, VimmonError):
                log.exception(event("host_ended", executor=self.executor_id))
        finally:
            self._loop.close()
            self._ready.set()

    async def _serve(self) -> None:
        redis = connect(self._settings)
        try:
            async with Prober() as prober:
                self._host = Host(self._settings, redis, prober, self.executor_id)
                self._ready.set()
                log.info(event("host_started", executor=self.executor_id, pid=self.pid))
                await self._host.run()
        finally:
            await redis.aclose()


_lock = threading.Lock()
_thread: HostThread | None = None
_left_behind: list[HostThread] = []


def take_on(assignment: Assignment) -> None:
    """Has this process's host watch a VIM. Raises SettingsError, or VimmonError where the host cannot run."""
    global _thread
    with _lock:
        if _thread is None or not _thread.alive:
            _thread = HostThread(load_settings())
        thread = _thread
    thread.take_on(assignment)


def _after_fork() -> None:
    """A forked process has no host, though it has what is left of its parent's: that is kept, for to collect it would
    be to close connections that the parent still uses. And the lock may have been held by a thread that is not here."""
    global _lock, _thread
    _lock = threading.Lock()
    if _thread is not None:
        _left_behind.append(_thread)
        _thread = None


os.register_at_fork(after_in_child=_after_fork)
