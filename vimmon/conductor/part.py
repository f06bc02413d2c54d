"""Asks a part that may be silent, and never waits for it longer than was said.

One thread asks at a time: a part that does not answer costs one thread, however often somebody wants to know.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillAsking
from typing import Generic, ParamSpec, TypeVar

from redis.exceptions import RedisError

from vimmon.errors import VimmonError
from vimmon.log import event
from vimmon.redis_url import redis_unreachable

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Silent(Exception):
    """The part did not tell, and why: one line, for anybody's eyes."""


class Part(Generic[P, T]):
    """`question` may raise a VimmonError or redis's own errors; their words are shown. A bug's are only logged."""

    def __init__(self, name: str, question: Callable[P, T], *, timeout_s: float) -> None:
        self.name = name
        self._question = question
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._asked: Future[T] | None = None

    def ask(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The answer. Raises Silent."""
        return self.begin(*args, **kwargs)()

    def begin(self, *args: P.args, **kwargs: P.kwargs) -> Callable[[], T]:
        """Asks, and gives what waits for the answer, so that several parts can be asked at once."""
        with self._lock:
            busy = self._asked is not None and not self._asked.done()
            if not busy:
                self._asked = asked = Future[T]()
                threading.Thread(target=self._ask, args=(asked, args, kwargs), name=self.name, daemon=True).start()
        return self._refuse if busy else lambda: self._wait(asked)

    def _refuse(self) -> T:
        raise Silent(f"{self.name} has not answered the last question yet")

    def _wait(self, asked: "Future[T]") -> T:
        try:
            return asked.result(self._timeout_s)
        except StillAsking:
            raise Silent(f"{self.name} does not answer within {self._timeout_s:g} s") from None

    def _ask(self, asked: "Future[T]", args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        try:
            asked.set_result(self._question(*args, **kwargs))  # type: ignore[arg-type]  # they are P's
        except VimmonError as trouble:
            asked.set_exception(Silent(_line(trouble)))
        except RedisError as trouble:
            asked.set_exception(Silent(_line(redis_unreachable(trouble))))
        except Exception as bug:
            log.exception(event("question_failed", part=self.name))
            asked.set_exception(Silent(f"{self.name}: {type(bug).__name__}; the conductor's log says more"))


def _line(trouble: Exception) -> str:
    return " ".join(str(trouble).split())
