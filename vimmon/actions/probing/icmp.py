"""The icmp probe: sends an echo request to the host in the auth_url, and awaits the reply. Its port is not asked.

All probes of a prober share a socket for each family (`echo`), and its timer: one of its own would cost more than all
else that a probe does.
"""

import asyncio
from functools import partial

from vimmon.actions.probing.reasons import no_answer, of_connecting, reachable
from vimmon.actions.probing.resolver import Address
from vimmon.actions.probing.wire import Wire
from vimmon.probes import IcmpProbe, Outcome

UNTIL_CANCELLED_S = 3600.0


async def probe(probe: IcmpProbe, wire: Wire) -> Outcome:
    """REACHABLE when the host replies."""
    addresses = await wire.resolve()
    if len(addresses) > 1:
        async with wire.within():
            rtt_s = await wire.first(addresses, partial(_ask, wire, probe.source_address), _forget)
        return reachable("ICMP reply", rtt_s)
    try:
        found_s = await wire.shared.echo.ask(addresses[0], probe.source_address, wire.ends_at)
    except OSError as error:
        return of_connecting([error])
    wire.ended("answer")
    return no_answer(probe.timeout_s) if found_s is None else reachable("ICMP reply", found_s)


async def _ask(wire: Wire, source: str | None, address: Address) -> float:
    rtt_s = await wire.shared.echo.ask(address, source, wire.ends_at + UNTIL_CANCELLED_S)
    if rtt_s is None:
        raise TimeoutError
    wire.ended("answer")
    return rtt_s


def _forget(task: asyncio.Task[float]) -> None:
    if not task.cancelled():
        task.exception()
