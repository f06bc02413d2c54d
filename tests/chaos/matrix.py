"""The rows in their order, and how they are run: those that need a Mistral share one, each other has its own ground."""

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tests.chaos import conductors, executors, mistral_life, outages, redis_life
from tests.chaos.cloud import Cloud, cloud
from tests.chaos.rows import Row, Scale
from tests.support.services import postgres_missing, rabbitmq_missing, redis_missing

ALONE: dict[str, Callable[[Path, Scale], Row]] = {
    "conductors-killed": conductors.conductors_killed,
    "conductor-paused": conductors.conductor_paused,
    "redis-flushed": redis_life.flushed,
    "redis-restarted-empty": redis_life.restarted_empty,
    "redis-restarted-with-data": redis_life.restarted_with_data,
    "redis-failed-over": redis_life.failed_over,
    "redis-away": redis_life.away,
    "database-away": outages.database_away,
    "two-reconcilers": outages.two_reconcilers,
    "two-servers": outages.two_servers,
    "clocks-off": outages.clocks_off,
}
IN_CLOUD: dict[str, Callable[[Cloud, Scale], Row]] = {
    "executor-killed": executors.killed,
    "executor-told-to-leave": executors.told_to_leave,
    "executor-paused": executors.paused,
    "executor-cut-off": executors.cut_off,
    "mistral-away": mistral_life.mistral_away,
    "worker-killed": mistral_life.worker_killed,
}
NAMES = (*ALONE, *IN_CLOUD)
LONGEST_FIRST = ("redis-away", "conductors-killed", "database-away", "conductor-paused")


def missing() -> str | None:
    """Why this machine cannot run the matrix; None: it can."""
    return redis_missing() or postgres_missing() or rabbitmq_missing()


class Run:
    """The rows of these names, under way: two lanes, one of them for the Mistral that its rows share."""

    def __init__(self, folder: Path, scale: Scale, names: tuple[str, ...] = NAMES) -> None:
        self._folder, self._scale = folder, scale
        self._lanes = [ThreadPoolExecutor(1, "alone"), ThreadPoolExecutor(1, "cloud")]
        alone = sorted((name for name in names if name in ALONE), key=_place)
        in_cloud = [name for name in names if name in IN_CLOUD]
        self.rows: dict[str, Future[tuple[Row, float]]] = {name: Future() for name in names}
        self._lanes[0].submit(self._run_alone, alone)
        if in_cloud:
            self._lanes[1].submit(self._run_in_cloud, in_cloud)

    def results(self) -> Iterator[tuple[str, Row, float]]:
        """Each row as it is done, in the order of the names, with the seconds it took."""
        for name, future in self.rows.items():
            yield name, *future.result()

    def stop(self) -> None:
        """Starts no other row, and waits for those that run."""
        for future in self.rows.values():
            future.cancel()
        for lane in self._lanes:
            lane.shutdown(wait=True)

    def _run_alone(self, names: list[str]) -> None:
        for name in names:
            self._run(name, lambda name=name: ALONE[name](self._folder_of(name), self._scale))  # type: ignore[misc]

    def _run_in_cloud(self, names: list[str]) -> None:
        try:
            with cloud(self._folder_of("cloud"), self._scale) as on:
                for name in names:
                    self._run(name, lambda name=name: IN_CLOUD[name](on, self._scale))  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001  # as below
            for name in names:
                if not self.rows[name].done():
                    self.rows[name].set_result((_not_carried_out(name, error), 0.0))

    def _run(self, name: str, do: Callable[[], Row]) -> None:
        future = self.rows[name]
        if not future.set_running_or_notify_cancel():
            return
        begun = time.monotonic()
        try:
            row = do()
        except Exception as error:  # noqa: BLE001  # a row that cannot be carried out does not hold, and the others go on
            row = _not_carried_out(name, error)
        future.set_result((row, time.monotonic() - begun))

    def _folder_of(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _not_carried_out(name: str, error: Exception) -> Row:
    traceback.print_exception(error)
    return Row(name, "could not be carried out", why=[f"{type(error).__name__}: {error}"])


def _place(name: str) -> int:
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)
