"""The pages of a conductor: its VIMs to look at, its metrics, whether it lives, whether it is ready.

Each answers in time, also where Redis or the database does not: then with what there is.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from vimmon.conductor.families import families, vims_of
from vimmon.conductor.http import Page, Pages
from vimmon.conductor.part import Part, Silent
from vimmon.conductor.reading import Reading, read_redis
from vimmon.conductor.status_page import StatusPage
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.mistral.queue import JobQueue
from vimmon.registry.census import Census, CensusTaker
from vimmon.registry.database import open_engine
from vimmon.registry.showing import Showcase
from vimmon.settings import Settings

REDIS_TIMEOUT_S, DATABASE_TIMEOUT_S = 3.0, 4.0  # together less than the ten seconds that Prometheus waits
READY_TIMEOUT_S = 2.0
NAMES_KEPT_S = 300.0  # a new name is shown by then
FRESH_S = 1.0  # who asks more often is told the same again
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Watch:
    """The pages of one process. Nothing is connected before the first is asked for."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        redis, keys = connect(settings), Keys(settings.prefix)
        jobs = JobQueue(redis, name=settings.prefix)
        engine = open_engine(settings.database_url.get_secret_value())
        taker = CensusTaker(engine)
        self._clock = clock
        self._redis = Part("Redis", lambda: read_redis(redis, keys, jobs), timeout_s=REDIS_TIMEOUT_S)
        self._database = Part("the database", taker.take, timeout_s=DATABASE_TIMEOUT_S)
        self._ready = {
            "redis": Part("Redis", lambda: _done(redis.ping()), timeout_s=READY_TIMEOUT_S),
            "database": Part("the database", taker.check, timeout_s=READY_TIMEOUT_S),
        }
        self._status = StatusPage(redis, keys, jobs, Showcase(engine), clock=clock)
        self._names: dict[str, str] = {}
        self._named_at = clock()
        self._lock = threading.Lock()
        self._told: tuple[float, Page] | None = None
        self._ready_lock = threading.Lock()
        self._ready_told: tuple[float, Page] | None = None

    def pages(self) -> Pages:
        return {
            **self._status.pages(),
            "/metrics": lambda query: self.metrics(),
            "/livez": lambda query: Page(b"ok\n"),
            "/readyz": lambda query: self.readyz(),
        }

    def metrics(self) -> Page:
        """For Prometheus. What cannot be read is missing, and `vimmon_up` says so."""
        with self._lock:
            if self._told is None or self._clock() - self._told[0] >= FRESH_S:
                page = Page(self._collect(), content_type=METRICS_TYPE)
                self._told = (self._clock(), page)
            return self._told[1]

    def readyz(self) -> Page:
        """Whether this conductor can do its work; else 503, and what is missing. Who asks meanwhile hears the same."""
        with self._ready_lock:
            if self._ready_told is None or self._clock() - self._ready_told[0] >= FRESH_S:
                page = self._look_whether_ready()
                self._ready_told = (self._clock(), page)
            return self._ready_told[1]

    def _look_whether_ready(self) -> Page:
        waiting = {name: part.begin() for name, part in self._ready.items()}
        lines, ready = [], True
        for name, wait in waiting.items():
            try:
                wait()
                lines.append(f"{name}: ok")
            except Silent as trouble:
                lines.append(f"{name}: {trouble}")
                ready = False
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Page("".join(f"{line}\n" for line in lines).encode(), status)

    def _collect(self) -> bytes:
        reading: Reading | None = None
        with suppress(Silent):
            reading = self._redis.ask()
        census = self._census(set(vims_of(reading)) if reading else set())
        return exposed(reading, census, self._names)

    def _census(self, named: Iterable[str]) -> Census | None:
        """Names are asked for once, and all again now and then: they may change."""
        anew = self._clock() - self._named_at >= NAMES_KEPT_S
        ask = sorted(vim_id for vim_id in named if anew or vim_id not in self._names)
        try:
            census = self._database.ask(ask)
        except Silent:
            return None
        if anew:
            self._names, self._named_at = {}, self._clock()
        self._names |= {vim_id: census.names.get(vim_id, "") for vim_id in ask}
        return census


def exposed(reading: Reading | None, census: Census | None, names: Mapping[str, str]) -> bytes:
    """All metrics in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families(reading, census, names)))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _done(answer: object) -> None:
    """That it answered is all that is asked."""
