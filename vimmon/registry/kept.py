"""Connections that are kept for statements that commit by themselves: to lend one from the pool, to set it and to reset
it takes as long as three rows of such a statement."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event


class Kept:
    """As many as were ever used at once, for a thread that uses one at a time one. They end with their pool."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._free: list[Connection] = []
        event.listen(engine, "engine_disposed", self._close)

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """One in which each statement is a transaction. It is kept unless something goes wrong."""
        try:
            connection = self._free.pop()
        except IndexError:
            connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._free.append(connection)

    def _close(self, _: Engine) -> None:
        while self._free:
            connection = self._free.pop()
            connection.detach()  # its pool is not any more: it would have nobody to close it
            connection.close()
