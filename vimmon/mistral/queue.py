"""How a job that talks to Mistral gets into RQ: its id, its retries. RQ makes it quick; nothing rests on it alone.

Jobs are named by their function, and carry JSON: this module need not know them, and no worker unpickles anything.
"""

from redis import Redis
from rq import Queue, Retry
from rq.exceptions import DuplicateJobError, InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, ScheduledJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer

START = "vimmon.mistral.jobs.start_monitor"
STOP = "vimmon.mistral.jobs.stop_monitor"
SWEEP = "vimmon.mistral.jobs.sweep_mistral"
RETRY_AFTER_S = [1, 2, 4, 8, 15, 30] + [60] * 54  # an hour in all
TIMEOUT_S = 180  # of a whole job; each call to Mistral in it has a timeout of its own
RESULT_TTL_S = 1  # and not 0: deleting a job at once fails in RQ where a worker died over an earlier try of it
FAILURE_TTL_S = 3600  # how long a job that failed to the end can be looked at
ENDED = (JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED)


class JobQueue:
    """Raises redis's own ConnectionError and TimeoutError while Redis is away."""

    def __init__(self, redis: Redis, *, name: str) -> None:
        self.queue = Queue(name, connection=redis, serializer=JSONSerializer, default_timeout=TIMEOUT_S)

    def start(self, vim_id: str, generation: int) -> bool:
        """Has the VIM's monitor started. False: that job waits or runs already."""
        return self._enqueue(START, f"start-{vim_id}-{generation}", vim_id, generation)

    def stop(self, vim_id: str, action_id: str | None) -> bool:
        """Has an execution removed, if one is named, and all there is in Mistral where the VIM is de-registered."""
        return self._enqueue(STOP, f"stop-{vim_id}-{action_id or 'all'}", vim_id, action_id)

    def sweep(self) -> bool:
        """Has Mistral searched for what no VIM wants, and for monitors that are gone."""
        return self._enqueue(SWEEP, "sweep")

    def counts(self) -> dict[str, int]:
        """How many jobs wait, run, wait for another try, failed to the end. RQ's own counting would also clean up."""
        name, connection = self.queue.name, self.queue.connection
        pipeline = connection.pipeline(transaction=False)
        pipeline.llen(self.queue.key)
        for registry in (StartedJobRegistry, ScheduledJobRegistry, FailedJobRegistry):
            pipeline.zcard(registry(name, connection=connection, serializer=JSONSerializer).key)
        return dict(zip(("queued", "started", "retrying", "failed"), pipeline.execute(), strict=True))

    def _enqueue(self, function: str, job_id: str, *args: str | int | None) -> bool:
        for _ in range(2):
            try:
                self.queue.enqueue(
                    function,
                    args=args,
                    job_id=job_id,
                    unique=True,
                    result_ttl=RESULT_TTL_S,
                    failure_ttl=FAILURE_TTL_S,
                    retry=Retry(max=len(RETRY_AFTER_S), interval=RETRY_AFTER_S),
                )
            except DuplicateJobError:
                if not self._clear_away(job_id):
                    return False
            else:
                return True
        return False

    def _clear_away(self, job_id: str) -> bool:
        """Whether a job that will never run again was in the way; it is not any more."""
        try:
            job = Job.fetch(job_id, connection=self.queue.connection, serializer=JSONSerializer)
            status = job.get_status()
            if status not in ENDED and not self._is_lost(job_id, status):
                return False
            job.delete()
        except (NoSuchJobError, InvalidJobOperation):  # it has ended meanwhile
            pass
        return True

    def _is_lost(self, job_id: str, status: JobStatus | None) -> bool:
        """Whether a job that says it waits stands in no list: Redis lost that, or somebody removed it.

        One that a worker takes out just now looks the same for a moment: it is then done twice, as any job may be.
        """
        if status is JobStatus.QUEUED:
            return self.queue.get_job_position(job_id) is None
        return status is JobStatus.SCHEDULED and job_id not in self.queue.scheduled_job_registry
