"""The processes of a conductor: who is started, and what each does with SIGTERM. cotyledon starts again what dies.

Each process makes its own connections: none survives a fork.
"""

import gc
import logging
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import cotyledon
from cotyledon.types import WorkerId

from vimmon.conductor.presence import Presence, new_conductor_id
from vimmon.conductor.reconcile import Reconciler
from vimmon.conductor.requests import RequestList
from vimmon.conductor.server import Server
from vimmon.conductor.tally import Tally
from vimmon.conductor.upkeep import Upkeep
from vimmon.lease.connection import alone, connect
from vimmon.lease.keys import Keys
from vimmon.lease.store import LeaseStore
from vimmon.log import event
from vimmon.mistral.queue import JobQueue
from vimmon.registry.database import open_engine
from vimmon.registry.repair import Repair
from vimmon.registry.store import VimStore
from vimmon.settings import Settings

log = logging.getLogger(__name__)

LEAVE_WITHIN_S = 10
CHILD_LEAVES_WITHIN_S = 8
WORKER_LEAVES_WITHIN_S = 7.0  # after six it gives back the job that it has in hand
GARBAGE_MIN = 10_000  # objects more, before it is looked for: a batch makes a thousand, and leaves no rings behind


@dataclass(frozen=True)
class Parts:
    """How many processes of which kind. `http`: where one listens that serves pages; None: nobody does."""

    rpc: int = 1
    workers: int = 3  # while two wait for Mistral's API, which is one process as a rule, the third does what is its own
    upkeep: bool = True
    reconcile: bool = True
    tacker: bool = False
    http: socket.socket | None = None


def run(settings: Settings, parts: Parts) -> None:
    """Runs them until SIGTERM, or SIGINT; then leaves within ten seconds, with nothing in hand."""
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=LEAVE_WITHIN_S)
    for service, count in (
        (Rpc, parts.rpc),
        (Worker, parts.workers),
        (Chores, int(parts.upkeep)),
        (Reconcile, int(parts.reconcile)),
        (Tacker, int(parts.tacker)),
    ):
        if count:
            manager.add(service, workers=count, args=(settings,))
    # Loaded by those alone that need them; and here, so that what is started again later is the same version.
    if parts.tacker:
        import_module("vimmon.tacker.follow")
    if parts.http is not None:
        import_module("vimmon.conductor.pages")
        manager.add(Http, workers=1, args=(settings, parts.http))
    # What is loaded by now is shared with every child, until somebody writes into it, as the collector of rubbish does.
    gc.collect()
    gc.freeze()
    manager.run()


class _Looping(cotyledon.Service):
    """A process that loops in a thread until `stop` is set."""

    graceful_shutdown_timeout: ClassVar[int] = CHILD_LEAVES_WITHIN_S

    def __init__(self, worker_id: WorkerId, settings: Settings) -> None:
        super().__init__(worker_id)
        self.settings = settings
        self.stop = threading.Event()
        self.ended = threading.Event()

    def terminate(self) -> None:
        self.stop.set()
        self.ended.wait()


class Rpc(_Looping):
    """Answers the request list."""

    name = "vimmon-rpc"

    def run(self) -> None:
        settings, keys, conductor_id = self.settings, Keys(self.settings.prefix), new_conductor_id()
        pooled, beating, tally = connect(settings), connect(settings), Tally()
        redis = alone(pooled)
        presence = Presence(
            beating,
            keys,
            conductor_id,
            beat_s=settings.conductor_beat_s,
            ttl_s=settings.conductor_ttl_s,
            also=lambda: tally.flush(beating, keys),
        )
        server = Server(
            RequestList(redis, keys, conductor_id),
            LeaseStore(redis, keys, ttl_s=settings.lease_ttl_s),
            VimStore(open_engine(settings.database_url.get_secret_value())),
            redis=redis,
            keys=keys,
            batch=settings.rpc_batch,
            tally=tally,
        )
        presence.start()
        gc.freeze()  # what is loaded stays: to look through it again and again would hold up calls
        gc.set_threshold(GARBAGE_MIN)
        log.info(event("rpc_started", conductor=conductor_id))
        try:
            server.serve(self.stop)
        finally:
            presence.stop()
            self.ended.set()


class Chores(_Looping):
    """Does the upkeep."""

    name = "vimmon-upkeep"

    def run(self) -> None:
        redis = connect(self.settings)
        try:
            Upkeep(
                redis=redis,
                vims=VimStore(open_engine(self.settings.database_url.get_secret_value())),
                jobs=JobQueue(redis, name=self.settings.prefix),
                settings=self.settings,
                conductor_id=new_conductor_id(),
            ).run(self.stop, time.monotonic)
        finally:
            self.ended.set()


class Reconcile(_Looping):
    """Compares what is wanted with what is held, and mends it."""

    name = "vimmon-reconcile"

    def run(self) -> None:
        settings = self.settings
        redis = connect(settings)
        reconciler = Reconciler(
            redis=redis,
            leases=LeaseStore(redis, Keys(settings.prefix), ttl_s=settings.lease_ttl_s),
            jobs=JobQueue(redis, name=settings.prefix),
            repair=Repair(open_engine(settings.database_url.get_secret_value())),
            settings=settings,
            name=new_conductor_id(),
            clock=time.monotonic,
        )
        try:
            reconciler.run(self.stop)
        finally:
            self.ended.set()


class Tacker(_Looping):
    """Follows what Tacker lists."""

    name = "vimmon-tacker"

    def run(self) -> None:
        from vimmon.tacker.follow import follow, open_sync  # with Keystone's libraries, 12 MiB

        try:
            sync, redis = open_sync(self.settings)
            interval_s = self.settings.tacker_interval_s or 0
            follow(sync, redis, Keys(self.settings.prefix), interval_s=interval_s, stop=self.stop)
        finally:
            self.ended.set()


class Http(_Looping):
    """Serves pages that are read. The socket is the supervisor's: who calls while this process is replaced, waits."""

    name = "vimmon-http"

    def __init__(self, worker_id: WorkerId, settings: Settings, listening: socket.socket) -> None:
        super().__init__(worker_id, settings)
        self._listening = listening

    def run(self) -> None:
        from vimmon.conductor.http import PageServer
        from vimmon.conductor.pages import Watch

        try:
            server = PageServer(self._listening, Watch(self.settings).pages())
            log.info(event("http_started", address=server.address))
            server.serve(self.stop)
        finally:
            self.ended.set()


class Worker(_Looping):
    """Carries out jobs, in a program of its own: RQ wants the main thread, and signals for itself."""

    name = "vimmon-worker"

    def run(self) -> None:
        process = self._start()
        while not self.stop.wait(0.2):
            if process.poll() is not None:
                log.warning(event("worker_ended", exit_code=process.returncode))
                self.ended.set()
                sys.exit(1)  # cotyledon starts this service again
        process.terminate()
        try:
            process.wait(WORKER_LEAVES_WITHIN_S)
        except subprocess.TimeoutExpired:  # Redis is silent: it cannot even say goodbye
            process.kill()
            process.wait()
        self.ended.set()

    def _start(self) -> "subprocess.Popen[Any]":
        # Its standard input ends when this process does, whatever ended it.
        return subprocess.Popen([sys.executable, "-m", "vimmon.conductor.worker"], stdin=subprocess.PIPE)
