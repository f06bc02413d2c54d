"""What any conductor does now and then, whatever was forgotten or lost: each chore reads what is, and mends it.

Fetches back what dead conductors had taken, lets jobs go that waited for another try, has done what is written in the
database but has never reached Mistral, and clears away what is old.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from rq.scheduler import RQScheduler
from rq.scripts import acquire_or_refresh_lock, release_lock
from rq.serializers import JSONSerializer

from vimmon.conductor.requests import RequestList
from vimmon.errors import VimmonError
from vimmon.lease.keys import Keys
from vimmon.log import event
from vimmon.mistral.queue import JobQueue
from vimmon.registry.store import VimStore
from vimmon.settings import Settings

log = logging.getLogger(__name__)

RETRY_TICK_S = 1.0
SLOW_S = 60.0
LOCK_TTL_S = 10
FORGOTTEN_CONDUCTOR_S = 3600


@dataclass
class Chore:
    """Something done every `every_s`, first at once. Trouble is logged; it is tried again the next time."""

    name: str
    every_s: float
    do: Callable[[], object]
    due: float = 0.0


class Upkeep:
    """`forgotten_after_s` is how long a job may take before what it was to do counts as forgotten."""

    def __init__(
        self,
        *,
        redis: Redis,
        vims: VimStore,
        jobs: JobQueue,
        settings: Settings,
        conductor_id: str,
        forgotten_after_s: float = 60,
    ) -> None:
        self._redis = redis
        self._vims = vims
        self._jobs = jobs
        self._settings = settings
        self._keys = Keys(settings.prefix)
        self._name = conductor_id
        self._forgotten_after_s = forgotten_after_s
        self._requests = RequestList(redis, self._keys, conductor_id)
        self._scheduler = RQScheduler([jobs.queue.name], connection=redis, serializer=JSONSerializer)
        self._scheduler.prepare_registries([jobs.queue.name])
        self._retry_lock = RQScheduler.get_locking_key(jobs.queue.name)
        self.chores = [
            Chore("fetch_back", settings.conductor_beat_s, self.fetch_back),
            Chore("retry_jobs", RETRY_TICK_S, self.retry_jobs),
            Chore("enter_missing", SLOW_S, self.enter_missing),
            Chore("enqueue_forgotten", SLOW_S, self.enqueue_forgotten),
            Chore("clear_away", SLOW_S, self.clear_away),
        ]

    def run(self, stop: threading.Event, clock: Callable[[], float]) -> None:
        """Does every chore in its time until `stop` is set."""
        while not stop.is_set():
            for chore in self.chores:
                if chore.due <= clock():
                    chore.due = clock() + chore.every_s
                    self._do(chore)
                if stop.is_set():
                    break
            stop.wait(max(0.0, min(chore.due for chore in self.chores) - clock()))
        try:
            release_lock(self._redis, self._retry_lock, self._name)
        except RedisError as trouble:  # it expires by itself
            log.info(event("farewell_not_sent", error=trouble))

    @staticmethod
    def _do(chore: Chore) -> None:
        """Trouble with one chore is no reason not to do the others."""
        try:
            chore.do()
        except (VimmonError, RedisError) as trouble:
            log.warning(event("chore_not_done", chore=chore.name, error=trouble))
        except Exception:  # whatever it stumbles over
            log.exception(event("chore_not_done", chore=chore.name))

    def fetch_back(self) -> int:
        """Puts back in the request list what dead conductors had taken."""
        count = 0
        for taken, died in self._requests.abandoned(older_than_s=self._settings.taken_max_age_s):
            try:
                requests = self._requests.give_back(taken, died=died)
            except ResponseError as odd:  # a key of another type: the others behind it must not wait for it
                log.error(event("taken_list_unreadable", taken=taken, error=odd))
                continue
            count += requests
            if requests:
                log.info(event("requests_fetched_back", taken=taken, requests=requests))
        return count

    def enter_missing(self) -> int:
        """Enters in the index what was taken and is not there. Returns how many lists."""
        return self._requests.enter_missing()

    def retry_jobs(self) -> None:
        """Lets the jobs go whose waiting time is over. Only one conductor at a time: twice would run them twice."""
        if acquire_or_refresh_lock(self._redis, self._retry_lock, self._name, LOCK_TTL_S) != "taken":
            self._scheduler.enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]

    def enqueue_forgotten(self) -> int:
        """Enqueues the cleaning of VIMs that were de-registered while Redis was away. Returns how many."""
        jobs = [self._jobs.stop(vim_id, None) for vim_id in self._vims.uncleaned(older_than_s=self._forgotten_after_s)]
        return sum(jobs)

    def clear_away(self) -> None:
        """Drops old history and rows, and forgets conductors that have long been silent."""
        self._vims.purge(history_days=self._settings.history_days, purge_after_s=self._settings.purge_after_s)
        seconds, _ = self._redis.time()
        self._redis.zremrangebyscore(self._keys.conductors, 0, seconds - FORGOTTEN_CONDUCTOR_S)
