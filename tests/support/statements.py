"""Watches the statements that go to a database: those that SQLAlchemy runs, and those of the driver by itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from vimmon.registry import transactions

Note = Callable[[Connection, str, Any], object]  # with the statement and its parameters


@contextmanager
def executed(engine: Engine, before: Note, after: Note = lambda *_: None) -> Iterator[None]:
    """`before` and `after` are called with each statement, once however many rows it has."""

    def listener(note: Note) -> Callable[..., None]:
        def listen(connection: Connection, _: object, statement: str, parameters: Any, *__: object) -> None:
            note(connection, statement, parameters)

        return listen

    def driven(connection: Connection, words: str, parameters: Any, **how: Any) -> Any:
        if connection.engine.pool is not engine.pool:
            return drive(connection, words, parameters, **how)
        before(connection, words, parameters)
        found = drive(connection, words, parameters, **how)
        after(connection, words, parameters)
        return found

    drive = transactions.drive
    listeners = [("before_cursor_execute", listener(before)), ("after_cursor_execute", listener(after))]
    for name, listen in listeners:
        event.listen(engine, name, listen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transactions, "drive", driven)
        try:
            yield
        finally:
            for name, listen in listeners:
                event.remove(engine, name, listen)
