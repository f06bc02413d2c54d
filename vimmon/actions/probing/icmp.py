"""The icmp probe: sends an echo request to the host in the auth_url, and awaits the reply. Its port is not asked.

All probes of a prober share a socket for each family (`echo`), and its timer: one of its own would cost more than all
else that a probe does.
"""

import asyncio
from functools import partial
from typing import Any

from vimmon.actions.probing.echo import SLOT_S
from vimmon.actions.probing.echo_peer import Asker, Peer
from vimmon.actions.probing.reasons import Trouble, no_answer, of_connecting, reachable, with_time
from vimmon.actions.probing.resolver import Address, literal_in
from vimmon.actions.probing.wire import ANY_FAMILY, Shared, Wire
from vimmon.probes import IcmpProbe, Outcome

REPLY = "ICMP reply"
FOR_EVER = float("inf")


def peer_of(probe: IcmpProbe, shared: Shared, asker: Asker, of: Any) -> tuple[Peer, float] | None:
    """Whom to ask at once, without a task that waits for the reply; and how long that is the right one, by the clock.

    None: something has to be awaited before, or there are several addresses to choose from.
    """
    if probe.source_address is not None:
        return None
    if literal := literal_in(probe.auth_url):
        return Peer(literal[0], probe.timeout_s, asker, of), FOR_EVER
    if probe.ip_family is not ANY_FAMILY:
        return None
    known = shared.resolver.known(probe.next_hop.host, probe.next_hop.port)
    if known is None or len(known[0]) > 1:
        return None
    return Peer(known[0][0], probe.timeout_s, asker, of), known[1]


async def probe(probe: IcmpProbe, wire: Wire) -> Outcome:
    """REACHABLE when the host replies."""
    addresses = await wire.resolve()
    if len(addresses) > 1:
        async with wire.within():
            rtt_s = await wire.first(addresses, partial(_ask, wire, probe.source_address), _forget)
        return reachable(REPLY, rtt_s)
    try:
        found_s = await wire.shared.echo.ask(addresses[0], probe.source_address, wire.left_s)
    except OSError as error:
        return outcome_of(probe.timeout_s, error)
    if found_s is not None:
        wire.ended("answer")
    return outcome_of(probe.timeout_s, found_s)


def outcome_of(timeout_s: float, found: float | Trouble | OSError | None) -> Outcome:
    """What it means that this came of a request."""
    if found is None:
        return no_answer(timeout_s)
    if isinstance(found, Trouble):
        return found.outcome
    return of_connecting([found]) if isinstance(found, OSError) else reachable(REPLY, found)


def reply_reason(ms: int) -> str:
    """Why it is REACHABLE."""
    return with_time(REPLY, ms)


async def _ask(wire: Wire, source: str | None, address: Address) -> float:
    # A little longer than the probe, which tells of its end by itself: here it ends where nobody saw to that.
    rtt_s = await wire.shared.echo.ask(address, source, wire.left_s + 2 * SLOT_S)
    if rtt_s is None:
        raise TimeoutError
    wire.ended("answer")
    return rtt_s


def _forget(task: asyncio.Task[float]) -> None:
    if not task.cancelled():
        task.exception()
