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


class HostThread:
    """A host on a daemon thread. Raises what making the host raised."""

    def __init__(self, settings: Settings) -> None:
        self.executor_id = new_executor_id(settings.executor_name)
        self.pid = os.getpid()
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._host: Host | None = None
        self._trouble: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vimmon-host", daemon=True)
        self._thread.start()
        self._ready.wait(START_TIMEOUT_S)
        if self._host is None:
            raise VimmonError(f"the monitors' event loop did not start: {self._trouble}") from self._trouble

    def take_on(self, assignment: Assignment) -> None:
        """Hands the assignment over to the loop."""
        host = self._host
        if host is None or not self._thread.is_alive():
            raise VimmonError("the monitors' event loop has ended", remedy="Restart this Mistral executor")
        self._loop.call_soon_threadsafe(host.take_on, assignment)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and self.pid == os.getpid()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # it must be seen: nobody awaits this thread
            self._trouble = error
            log.exception(event("host_ended", executor=self.executor_id))
            self._ready.set()
            raise

    async def _serve(self) -> None:
        async with Prober() as prober:
            self._host = Host(self._settings, connect(self._settings), prober, self.executor_id)
            self._ready.set()
            log.info(event("host_started", executor=self.executor_id, pid=self.pid))
            await self._host.run()


_lock = threading.Lock()
_thread: HostThread | None = None


def take_on(assignment: Assignment) -> None:
    """Has this process's host watch a VIM. Raises SettingsError, or VimmonError where the host cannot run."""
    global _thread
    with _lock:
        if _thread is None or not _thread.alive:
            _thread = HostThread(load_settings())
    _thread.take_on(assignment)
