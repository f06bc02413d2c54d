"""How a connection is made: what comes together with a cancellation, and what stays behind of one that failed."""

import asyncio
import socket
from typing import Any

from tests.support.polling import eventually
from vimmon.actions.probing.establish import establish
from vimmon.actions.probing.resolver import Address


async def test_a_connection_that_comes_together_with_a_cancellation_is_no_error() -> None:
    loop, wrong = asyncio.get_running_loop(), list[Any]()
    loop.set_exception_handler(lambda _, context: wrong.append(context))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as connection:
        connection.setblocking(False)
        task = asyncio.ensure_future(establish(connection, Address(socket.AF_INET, server.getsockname())))
        loop.call_soon(
            lambda: loop.call_soon(task.cancel)
        )  # before the loop looks whether it is connected; runs after that
        await eventually(task.cancelled)
    assert wrong == []
