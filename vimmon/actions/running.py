"""The probes that run now in a host, at most one of each VIM."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from vimmon.probes import Outcome

Ended = Callable[[Outcome | Exception], None]


class Running:
    def __init__(self) -> None:
        self._probes: dict[str, asyncio.Future[Outcome]] = {}

    def __contains__(self, vim_id: str) -> bool:
        return vim_id in self._probes

    def __len__(self) -> int:
        return len(self._probes)

    def start(self, vim_id: str, begin: Callable[[], Awaitable[Outcome]], ended: Ended) -> None:
        """Only where none of this VIM runs. `ended` is told the outcome, or the bug, unless it is cancelled."""
        probe: asyncio.Future[Outcome]
        try:
            probe = asyncio.ensure_future(begin())
        except Exception as bug:  # noqa: BLE001  # `ended` is told
            (probe := asyncio.get_running_loop().create_future()).set_exception(bug)
        self._probes[vim_id] = probe
        probe.add_done_callback(partial(self._ended, vim_id, ended))

    def cancel(self, vim_id: str) -> None:
        """That of this VIM, if one runs; another may begin at once."""
        if probe := self._probes.pop(vim_id, None):
            probe.cancel()

    async def end(self) -> None:
        """Cancels all, and waits until they have ended."""
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)

    def _ended(self, vim_id: str, ended: Ended, probe: asyncio.Future[Outcome]) -> None:
        if self._probes.get(vim_id) is not probe:
            return  # it was let go of
        del self._probes[vim_id]
        if not probe.cancelled():
            ended(bug if isinstance(bug := probe.exception(), Exception) else probe.result())
