"""The tcp probe: opens a connection to the port in the auth_url, and drops it.

It is dropped with a reset, which leaves neither side a connection in TIME_WAIT.
"""

import socket
import struct

from vimmon.actions.probing.reasons import reachable
from vimmon.actions.probing.wire import Wire
from vimmon.probes import Outcome, TcpProbe

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def probe(_: TcpProbe, wire: Wire) -> Outcome:
    """REACHABLE when somebody accepts the connection, whoever it is."""
    addresses = await wire.resolve()
    clock = wire.shared.clock
    started = clock()
    async with wire.within():
        with await wire.connect(addresses) as connection:
            rtt_s = clock() - started
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    return reachable("connected", rtt_s)
