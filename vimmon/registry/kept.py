"""Connections that are kept for statements that commit by themselves: to lend one from the pool, to set it and to reset
it takes as long as three rows of such a statement.

On PostgreSQL they find rows by key, also in a small table, and in one that was small when their plan was made: a
planner would rather read all of it, and the plan stays when the table has grown, until its rows are counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event

SET = {"postgresql": "SET enable_seqscan = off"}

_free: WeakKeyDictionary[Engine, list[Connection]] = WeakKeyDictionary()


@contextmanager
def kept(engine: Engine) -> Iterator[Connection]:
    """One in which each statement is a transaction. It is kept unless something goes wrong, until its engine's pool
    ends: of an engine as many as were ever used at once."""
    free = _free_of(engine)
    try:
        connection, new = free.pop(), False
    except IndexError:
        connection, new = engine.connect().execution_options(isolation_level="AUTOCOMMIT"), True
    try:
        if new and engine.dialect.name in SET:
            connection.exec_driver_sql(SET[engine.dialect.name])
        yield connection
    except BaseException:
        connection.invalidate()  # nobody else shall have it, set as it is
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
