"""What is started and stopped with a context; and one program of that kind, which only this machine can reach."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from vimmon.embedded.process import Child, free_port


class Started(ABC):
    """Runs for as long as the context lasts."""

    @abstractmethod
    def start(self) -> Self: ...

    @abstractmethod
    def stop(self) -> None: ...

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class OneProgram(Started):
    """Without a `port`, a free one is chosen anew at each start."""

    name: ClassVar[str]

    def __init__(self, folder: Path, port: int | None) -> None:
        self.port = port or 0
        self._folder = folder
        self._port_is_given = port is not None
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"this {self.name} was not started")
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    def _choose_port(self) -> None:
        if not self._port_is_given:
            self.port = free_port()

    def _run(
        self,
        command: Sequence[str | Path],
        is_ready: Callable[[], bool],
        *,
        within_s: float,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Returns when it is ready. ServerDidNotStart, with the reason, if that takes too long: it is gone then."""
        self._child = Child(self.name.lower(), command, self._folder, env=env)
        try:
            self._child.wait_ready(is_ready, within_s)
        except BaseException:
            self.stop()
            raise
