"""Connections that are kept for statements that commit by themselves: to lend one from the pool, to set it and to reset
it takes as long as three rows of such a statement."""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event

_free: WeakKeyDictionary[Engine, list[Connection]] = WeakKeyDictionary()


@contextmanager
def kept(engine: Engine) -> Iterator[Connection]:
    """One in which each statement is a transaction. It is kept unless something goes wrong, until its engine's pool
    ends: of an engine as many as were ever used at once."""
    free = _free_of(engine)
    try:
        connection = free.pop()
    except IndexError:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        yield connection
    except BaseException:
        connection.close()
        raise
    free.append(connection)


def _free_of(engine: Engine) -> list[Connection]:
    if engine not in _free:
        _free[engine] = []
        event.listen(engine, "engine_disposed", _close)
    return _free[engine]


def _close(engine: Engine) -> None:
    free = _free_of(engine)
    while free:
        connection = free.pop()
        connection.detach()  # its pool is not any more: it would have nobody to close it
        connection.close()
