"""The icmp probe: sends an echo request to the host in the auth_url, and awaits the reply. Its port is not asked.

All probes of a prober share a socket for each family (`echo`), and its timer: one of its own would cost more than all
else that a probe does.
"""

import asyncio
from functools import partial
from typing import Any

from vimmon.actions.probing.echo import SLOT_S
from vimmon.actions.probing.reasons import Trouble, no_answer, of_connecting, reachable
from vimmon.actions.probing.resolver import Address, literal_in
from vimmon.actions.probing.turns import Turns
from vimmon.actions.probing.wire import ANY_FAMILY, Shared, Wire
from vimmon.probes import IcmpProbe, Outcome


class Asked(asyncio.Future[Outcome]):
    """A probe of which only the reply is missing. It has its turn until then, or until it is cancelled."""

    __slots__ = ("_probe", "_turns")

    def __init__(self, probe: IcmpProbe, turns: Turns, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._probe = probe
        self._turns = turns

    def told(self, found: float | OSError | None) -> None:
        if not self.done():
            self._turns.give_back()
            self.set_result(_outcome(self._probe, found))

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        self._turns.give_back()
        return super().cancel(msg)


def ask_now(probe: IcmpProbe, shared: Shared, turns: Turns) -> Asked | None:
    """Sends the request at once, without a task that would wait for the reply: that costs as much as all else.

    None: it has to wait for something before, or has several addresses to choose from.
    """
    if probe.source_address is not None or probe.ip_family is not ANY_FAMILY:
        return None
    addresses = literal_in(probe.auth_url) or shared.resolver.known(probe.next_hop.host, probe.next_hop.port)
    if addresses is None or len(addresses) > 1 or not turns.take_now():
        return None
    asked = Asked(probe, turns, shared.loop)
    try:
        shared.echo.send(addresses[0], None, shared.loop.time() + probe.timeout_s, asked.told)
    except OSError as error:
        asked.told(error)
    except BaseException as error:
        asked.cancel()  # gives the turn back
        if isinstance(error, Trouble):  # it is met again, and told, by the probe that waits
            return None
        raise
    return asked


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
        return _outcome(probe, error)
    wire.ended("answer")
    return _outcome(probe, found_s)


def _outcome(probe: IcmpProbe, found: float | OSError | None) -> Outcome:
    if found is None:
        return no_answer(probe.timeout_s)
    return of_connecting([found]) if isinstance(found, OSError) else reachable("ICMP reply", found)


async def _ask(wire: Wire, source: str | None, address: Address) -> float:
    # A little longer than the probe, which tells of its end by itself: here it ends where nobody saw to that.
    rtt_s = await wire.shared.echo.ask(address, source, wire.ends_at + 2 * SLOT_S)
    if rtt_s is None:
        raise TimeoutError
    wire.ended("answer")
    return rtt_s


def _forget(task: asyncio.Task[float]) -> None:
    if not task.cancelled():
        task.exception()
