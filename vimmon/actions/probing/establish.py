"""Connects a socket as the loop's `sock_connect` does, but tells who said no: this host, or somebody on the way.

What is said before anything can have come back is this host's own.
"""

import asyncio
import os
import socket

from vimmon.actions.probing.reasons import refused
from vimmon.actions.probing.resolver import Address


async def establish(connection: socket.socket, address: Address) -> None:
    """Connects a non-blocking socket. Raises OSError; Refused where this host itself says no."""
    try:
        connection.connect(address.sockaddr)
    except BlockingIOError:
        pass
    except OSError as error:
        raise refused(error) from None
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(connection, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_writer(connection)
    if number := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(number, os.strerror(number))


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
