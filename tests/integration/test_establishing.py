"""How a connection is made: what comes together with a cancellation, and what stays behind of one that failed."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.network import in_own_network, set_sysctl
from tests.support.polling import eventually
from vimmon.actions.probing import wire
from vimmon.actions.probing.establish import establish
from vimmon.actions.probing.resolver import Address
from vimmon.actions.probing.shortlist import Shortlist
from vimmon.actions.probing.wire import Wire
from vimmon.probes import TcpProbe


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


async def test_of_two_connections_that_come_together_one_is_taken_and_the_other_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "STAGGER_S", 0.0)
    loop, begun, late = asyncio.get_running_loop(), list[Address](), list[asyncio.Task[Address]]()
    both: asyncio.Future[None] = loop.create_future()
    shared: Any = SimpleNamespace(loop=loop, clock=loop.time, shortlist=Shortlist())
    addresses = [Address(socket.AF_INET, (f"127.0.0.{number}", 5000)) for number in (1, 2)]

    async def attempt(address: Address) -> Address:
        begun.append(address)
        await both
        return address

    mine = Wire(TcpProbe(auth_url="http://both.test:5000"), shared, None)
    first = asyncio.ensure_future(mine.first(addresses, attempt, late.append))
    await eventually(lambda: begun == addresses)
    both.set_result(None)
    taken = await first
    await eventually(lambda: late)
    assert [taken, late[0].result()] in (addresses, addresses[::-1])


async def test_a_connection_that_was_given_up_is_closed_if_there_is_one() -> None:
    connection = socket.socket()

    async def end(found: socket.socket | Exception) -> socket.socket:
        if isinstance(found, Exception):
            raise found
        return found

    tasks = [asyncio.ensure_future(end(found)) for found in (connection, OSError("refused"), connection)]
    tasks[2].cancel()
    await asyncio.wait(tasks)
    for task in tasks[1:]:
        wire._close_late(task)
    assert connection.fileno() != -1
    wire._close_late(tasks[0])
    assert connection.fileno() == -1


async def test_a_port_of_the_source_address_serves_for_several_targets() -> None:
    """There are 28,000 of them by default, and a thousand VIMs may be probed at once, and again."""

    async def test() -> None:
        set_sysctl("ipv4/ip_local_port_range", "50000 50001")
        made, source = list[socket.socket](), Address(socket.AF_INET, ("127.0.0.55", 0))
        with socket.create_server(("0.0.0.0", 5000)):
            try:
                for number in range(1, 6):
                    target = Address(socket.AF_INET, (f"127.0.0.{number}", 5000))
                    made.append(await wire._connect(target, source))
                assert {each.getsockname()[0] for each in made} == {"127.0.0.55"}
            finally:
                for each in made:
                    each.close()

    await in_own_network(test)
