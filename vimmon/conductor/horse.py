"""RQ's worker, whose forked process carries out one job after the other, as long as there are any.

RQ forks for each job. Here that costs more than half of what Mistral itself needs for a start: connections to the
database, Redis, Mistral and Keystone, and all that is made when they are first used. What a process of its own is for
stays: a job can be killed at any moment, alone, and its worker has it tried again; after a job that failed, in
whatever state that left the connections, the next one gets a new process.
"""

import os
import random
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rq import Queue, Worker
from rq.executions import Execution
from rq.job import Job

if TYPE_CHECKING:
    from resource import struct_rusage

IDLE_S = 1.0  # without a job for so long, the process is ended: nothing is kept that might be outdated
JOBS_MAX = 500  # then too, in case something grows
DONE = b"."


class Horse:
    """One forked process, and how its worker talks to it: an order is a line; DONE is said after a job that went well,
    and stays unread until the next order. Otherwise the end of the process is the answer."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._socket, other = socket.socketpair()
        self._unread = False
        self.pid = os.fork()
        if self.pid == 0:
            self._socket.close()
            serve(other)
            os._exit(0)
        other.close()

    def order(self, *words: str) -> bool:
        """Whether it could still be told."""
        try:
            if self._unread:
                self._unread = False
                self._socket.recv(1)
            self._socket.sendall(" ".join(words).encode() + b"\n")
        except OSError:
            return False
        return True

    def is_done(self) -> bool:
        """Waits for the job's end. False: the process has ended, or is about to. May be broken off and asked again."""
        try:
            self._unread = self._socket.recv(1, socket.MSG_PEEK) == DONE
        except ConnectionError:
            return False
        return self._unread

    def close(self) -> None:
        """Wants no more of it: it ends, if it has not."""
        self._socket.close()

    def dismiss(self) -> None:
        """Ends it; it must have nothing in hand."""
        self.close()
        os.waitpid(self.pid, 0)


class HorseWorker(Worker):
    """RQ's, but for the places where it forks, waits for the process, and is done with it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._horse: Horse | None = None
        self._turn = threading.Lock()
        self._idle: threading.Timer | None = None

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        (execution_id,) = self.executions
        if self._idle is not None:
            self._idle.cancel()
        with self._turn:
            if self._horse is not None and not self._horse.order(job.id, execution_id):
                self._horse.dismiss()  # it died while it had nothing to do
                self._horse = None
            if self._horse is None:
                self._horse = Horse(lambda orders: self._serve(orders, queue))
                self._horse.order(job.id, execution_id)
            self._horse_pid = self._horse.pid

    def wait_for_horse(self) -> "tuple[int | None, int | None, struct_rusage | None]":
        """May be broken off at any moment by the signal of RQ's timer, and is asked again."""
        if self._horse is not None and self._horse.is_done():
            return self._horse.pid, os.EX_OK, None
        ended = super().wait_for_horse()
        if self._horse is not None:
            self._horse.close()
            self._horse = None
        return ended

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Execution) -> None:
        super().monitor_work_horse(job, queue, execution)
        if self._horse is not None:
            self._idle = threading.Timer(IDLE_S, self._dismiss)
            self._idle.daemon = True
            self._idle.start()

    def _dismiss(self) -> None:
        with self._turn:
            if self._horse is not None and not self._horse_pid:
                self._horse.dismiss()
                self._horse = None

    def _serve(self, orders: socket.socket, queue: Queue) -> None:
        """What the forked process does, until its worker wants no more or is gone, or a job has failed."""
        try:
            os.setpgrp()
            random.seed()
            self.setup_work_horse_signals()  # type: ignore[no-untyped-call]  # RQ gave it no types
            self._is_horse = True
            with orders.makefile() as lines:
                for number, line in enumerate(lines, start=1):
                    if not self._carry_out(*line.split(), queue=queue) or number == JOBS_MAX:
                        break  # and not a word: whoever says that it is done gets another order
                    orders.sendall(DONE)
        except BaseException:  # noqa: BLE001  # never back into the worker's own code; it has the job tried again
            os._exit(1)

    def _carry_out(self, job_id: str, execution_id: str, *, queue: Queue) -> bool:
        """Whether it went well. What became of it is in Redis either way."""
        job = Job.fetch(job_id, connection=self.connection, serializer=self.serializer)
        self.execution = execution = Execution.fetch(execution_id, job_id, connection=self.connection)
        return self.perform_job(job, queue, execution)
