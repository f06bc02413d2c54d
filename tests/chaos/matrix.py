"""The rows in their order, and how they are run: three lanes beside one another.

Rows that need a Mistral share one. Rows that must leave everything as they found it share their monitors, as long as
they hold. Each other has its own ground.
"""

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import conductors, executors, mistral_life, outages, redis_life, redis_trouble
from tests.chaos.cloud import Cloud, cloud
from tests.chaos.rows import Row, Scale
from tests.chaos.watching import Watched, watched
from tests.support.services import postgres_missing, rabbitmq_missing, redis_missing

WATCHED: dict[str, Callable[[Watched], Row]] = {
    "redis-flushed": redis_life.flushed,
    "redis-restarted-empty": redis_life.restarted_empty,
    "redis-restarted-with-data": redis_life.restarted_with_data,
    "redis-loading": redis_life.loading,
    "redis-out-of-memory": redis_trouble.out_of_memory,
    "redis-read-only": redis_trouble.read_only,
    "redis-cut-in-command": redis_trouble.cut_in_command,
    "redis-answers-lost": redis_trouble.answers_lost,
    "database-away": outages.database_away,
    "two-reconcilers": outages.two_reconcilers,  # the last of them: it ends a host
}
ALONE: dict[str, Callable[[Path, Scale], Row]] = {
    "redis-away": redis_life.away,
    "conductors-killed": conductors.conductors_killed,
    "conductor-paused": conductors.conductor_paused,
    "redis-failed-over": redis_life.failed_over,
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
NAMES = (*ALONE, *WATCHED, *IN_CLOUD)


def missing() -> str | None:
    """Why this machine cannot run the matrix; None: it can."""
    return redis_missing() or postgres_missing() or rabbitmq_missing()


class Run:
    """The rows of these names, under way."""

    def __init__(self, folder: Path, scale: Scale, names: tuple[str, ...] = NAMES) -> None:
        self._folder, self._scale = folder, scale
        self.rows: dict[str, Future[tuple[Row, float]]] = {name: Future() for name in names}
        self._lanes = []
        for run, of in ((self._run_in_cloud, IN_CLOUD), (self._run_alone, ALONE), (self._run_watched, WATCHED)):
            if mine := [name for name in of if name in names]:
                lane = ThreadPoolExecutor(1)
                lane.submit(run, mine)
                self._lanes.append(lane)

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
        with self._failing(names), cloud(self._folder_of("cloud"), self._scale) as on:
            for name in names:
                self._run(name, lambda name=name: IN_CLOUD[name](on, self._scale))  # type: ignore[misc]

    def _run_watched(self, names: list[str]) -> None:
        """After a row that does not hold the next begins anew: it shall not be told of what that one left behind."""
        while names := [name for name in names if not self.rows[name].done()]:
            with (
                self._failing(names[:1]),
                watched(self._folder_of(f"with-{names[0]}"), self._scale, persistent=True) as vims,
            ):
                for name in names:
                    if not self._run(name, lambda name=name: _at_rest(vims, WATCHED[name])):  # type: ignore[misc]
                        break

    @contextmanager
    def _failing(self, names: list[str]) -> Iterator[None]:
        """What these rows stand on may be wanting: then none of them that is not done can be carried out."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # as below
            for name in names:
                if not self.rows[name].done():
                    self.rows[name].set_result((_not_carried_out(name, error), 0.0))

    def _run(self, name: str, do: Callable[[], Row]) -> bool:
        """Whether the row holds."""
        future = self.rows[name]
        if not future.set_running_or_notify_cancel():
            return False
        begun = time.monotonic()
        try:
            row = do()
        except Exception as error:  # noqa: BLE001  # a row that cannot be carried out does not hold, and the others go on
            row = _not_carried_out(name, error)
        future.set_result((row, time.monotonic() - begun))
        return row.holds

    def _folder_of(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _not_carried_out(name: str, error: Exception) -> Row:
    traceback.print_exception(error)
    return Row(name, "could not be carried out", why=[f"{type(error).__name__}: {error}"])


def _at_rest(vims: Watched, row: Callable[[Watched], Row]) -> Row:
    vims.all_up()
    return row(vims)
