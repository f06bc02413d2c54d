"""Commands that go to Redis in one go, packed and read by hiredis: redis-py needs more for a pipeline of eight than a
conductor does for all else in a call.

The connection is redis-py's own, which makes it anew when it was lost, asks the Sentinels, and says what went wrong in
its own errors. Nothing is ever repeated: where an answer was lost, whoever asked knows what may be sent again.
"""

from collections.abc import Callable
from typing import Any

from hiredis import pack_command
from redis import Redis
from redis.exceptions import ResponseError

Word = str | bytes | int | float


class Commands:
    """What is to be sent. Each is carried out by itself, and one that Redis refuses does not stop those behind it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._packed: list[bytes] = []

    def __len__(self) -> int:
        return len(self._packed)

    def add(self, *words: Word) -> None:
        """A command, and what it is about."""
        self._packed.append(pack_command(words))  # type: ignore[arg-type]  # str and numbers are fine

    def run(self, meanwhile: Callable[[], object] | None = None) -> list[Any]:
        """Sends all, and returns what Redis answers to each, which may be a ResponseError; to be called once.

        `meanwhile` is done while Redis is at work, or when it cannot be reached. Raises redis's own ConnectionError and
        TimeoutError: then nobody knows which were carried out.
        """
        kept: Any = self._redis.connection  # redis-py has no types here
        connection, pool = kept, self._redis.connection_pool
        try:
            try:
                if self._packed:
                    connection = kept or pool.get_connection()
                    connection.send_packed_command([b"".join(self._packed)])
            finally:
                if meanwhile is not None:
                    meanwhile()
            answers = [_answer_on(connection) for _ in self._packed]
            if any(isinstance(answer, ResponseError) for answer in answers):
                # Redis 7.0 answers twice where CLIENT UNBLOCK met CLIENT PAUSE; one that became a replica stays one.
                connection.disconnect()
            return answers
        except BaseException:
            if connection is not None:
                connection.disconnect()  # else whoever uses it next would take these answers for its own
            raise
        finally:
            if connection is not kept:
                pool.release(connection)


def ask(redis: Redis, *words: Word) -> Any:
    """One command alone. Raises also what Redis says to refuse it."""
    commands = Commands(redis)
    commands.add(*words)
    (answer,) = commands.run()
    if isinstance(answer, ResponseError):
        raise answer
    return answer


def _answer_on(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as refused:
        return refused
