"""`python -m benchmarks.fleet_executor REDIS_URL PREFIX NAME`: an executor without Mistral, one of many.

Its host is handed its monitors directly, and notes how late probes began, checks were answered, and statuses were
acknowledged; all else is as in an executor. Orders and answers are JSON, a line each.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from vimmon.actions.connection import connect
from vimmon.actions.host import Host
from vimmon.actions.monitor import Assignment
from vimmon.actions.presence import new_executor_id
from vimmon.actions.probing import Prober
from vimmon.messages import Answer, UpdateVim
from vimmon.probes import parse_probe
from vimmon.settings import Settings


class Measured(Host):
    """Lags are in ms: of a probe, how long after its time it began; of a check, until it was answered; of an update,
    from when the monitor had it to say until it was told that the row has it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.late_ms: dict[str, Counter[int]] = {"probe": Counter(), "check": Counter(), "update": Counter()}
        self._said_at: dict[str, float] = {}
        began, say, due = self._metrics.began, self._caller.say, self._checks.due

        def noted_began(late_s: Sequence[float]) -> None:
            self._note("probe", late_s)
            began(late_s)

        def noted_say(update: UpdateVim) -> None:
            self._said_at.setdefault(update.vim_id, self._clock())
            say(update)

        async def noted_due() -> Any:
            found = await due()
            self._note("check", [self._checks.late_s] * self._checks.read)
            return found

        self._metrics.began = noted_began  # type: ignore[method-assign]  # to look over its shoulder
        self._caller.say = noted_say  # type: ignore[method-assign]
        self._checks.due = noted_due  # type: ignore[method-assign]

    def _hear(self, update: UpdateVim, answer: Answer) -> None:
        if (said_at := self._said_at.pop(update.vim_id, None)) is not None:
            self._note("update", [self._clock() - said_at])
        super()._hear(update, answer)

    def _note(self, what: str, late_s: Iterable[float]) -> None:
        self.late_ms[what].update([int(each * 1000) for each in late_s])

    def hand_over(self, order: dict[str, Any]) -> None:
        """Each VIM in the order, with its address."""
        for vim in order["vims"]:
            parsed = parse_probe({**order["probe"], "auth_url": vim["auth_url"]})
            self.take_on(Assignment(vim["vim_id"], vim["action_id"], vim["generation"], parsed))

    def begin(self) -> None:
        """From now on is counted."""
        for counts in self.late_ms.values():
            counts.clear()

    def tell(self) -> dict[str, Any]:
        """`acknowledged`: of how many the conductor has what they say."""
        return {
            "held": len(self.held),
            "acknowledged": sum(one.acknowledged is not None for one in self._monitors.values()),
            "late_ms": {what: sorted(counts.items()) for what, counts in self.late_ms.items()},
        }


async def main(url: str, prefix: str, name: str) -> None:
    settings = Settings.model_validate({"redis_url": url, "prefix": prefix})
    redis = connect(settings)
    async with Prober() as prober, asyncio.TaskGroup() as tasks:
        host = Measured(settings, redis, prober, new_executor_id(name))
        running = tasks.create_task(host.run())
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            match order["order"]:
                case "hand_over":
                    host.hand_over(order)
                case "begin":
                    host.begin()
            print(json.dumps(host.tell()), flush=True)
        running.cancel()
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
