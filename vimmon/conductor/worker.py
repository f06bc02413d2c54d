"""An RQ worker: carries out the jobs that talk to Mistral, in a forked process that ends when there are no more.

It ends with SIGTERM, or when its standard input does, whose other end the conductor holds: no worker outlives it.
"""

import logging
import os
import signal
import sys
import threading
from typing import Any

from rq.job import Job
from rq.serializers import JSONSerializer

import vimmon.mistral.jobs  # noqa: F401  # loaded once here instead of in each forked process
from vimmon.conductor.horse import HorseWorker
from vimmon.errors import VimmonError
from vimmon.lease.connection import connect
from vimmon.log import event, setup_logging
from vimmon.registry.database import open_engine
from vimmon.settings import load_settings

log = logging.getLogger("vimmon.conductor.worker")

WORKER_TTL_S = 20
JOB_GRACE_S = 6.0
POLL_S = 2
ABANDONED_AFTER_S = 15  # a job whose worker has said nothing for so long is done again by another


class JobWorker(HorseWorker):
    """RQ's worker, that gives its job back when it has to leave and the job takes too long."""

    def handle_warm_shutdown_request(self) -> None:
        timer = threading.Timer(JOB_GRACE_S, self._give_back)
        timer.daemon = True
        timer.start()

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """RQ would have an abandoned job wait for more than a minute; one that runs twice does no harm."""
        return ABANDONED_AFTER_S

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Trouble that is expected, like a Mistral that is away, is worth a line; anything else, all that is known."""
        error = exc_info[1] if len(exc_info) > 1 else None
        if isinstance(error, VimmonError):
            log.warning(event("job_failed", job=job.id, retries_left=job.retries_left, error=error))
        else:
            super().handle_exception(job, *exc_info)

    def _give_back(self) -> None:
        if self.horse_pid:
            log.warning(event("job_given_back", job=self.get_current_job_id()))
            self.kill_horse()  # RQ takes that for a failure, and has the job tried again


def main() -> None:
    settings = load_settings()
    setup_logging(settings)
    threading.Thread(target=_end_with_standard_input, name="parent-watch", daemon=True).start()
    worker = JobWorker(
        [settings.prefix],
        connection=connect(settings),
        serializer=JSONSerializer,
        worker_ttl=WORKER_TTL_S,
        job_monitoring_interval=POLL_S,
        maintenance_interval=5,
        log_job_description=False,
    )
    worker.log_result_lifespan = False
    open_engine(settings.database_url.get_secret_value()).dispose()  # its driver is loaded once here, too
    worker.work(logging_level="WARNING")


def _end_with_standard_input() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
