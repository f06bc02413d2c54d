"""`python -m benchmarks.callers REDIS_URL PREFIX VIMS`: many monitors, each with one call of `update_vim` in flight.

They share the product's own Caller, as the monitors of an executor do. Orders and answers are JSON, a line each.
"""

import asyncio
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.measure import percentile
from vimmon.actions.client import Caller, request_ids
from vimmon.actions.connection import connect
from vimmon.lease.keys import Keys
from vimmon.messages import Answer, UpdateVim, update_of
from vimmon.settings import Settings
from vimmon.vim import VimStatus

EXECUTOR = "bench:1:0"
OTHER = {VimStatus.REACHABLE: VimStatus.UNREACHABLE, VimStatus.UNREACHABLE: VimStatus.REACHABLE}


@dataclass
class Speaker:
    """One monitor: what it says next, and what was last acknowledged."""

    who: dict[str, Any]  # what is the same of all that it says
    said: UpdateVim
    acknowledged: UpdateVim | None = None
    said_at: float = 0.0


class Callers:
    def __init__(self, vims: list[dict[str, Any]]) -> None:
        self.speakers = {vim["vim_id"]: _speaker(vim) for vim in vims}
        self.caller: Caller | None = None
        self._changed = False
        self._until = 0.0
        self._last = 0.0
        self._talking = 0
        self._wrong: list[str] = []
        self._latencies: list[float] = []
        self._quiet = asyncio.Event()

    async def talk(self, many: int, *, seconds: float, changed: bool) -> dict[str, Any]:
        """The first `many` call, each again when it is answered, for so long; then all answers are waited for."""
        self._latencies, self._wrong, self._changed, self._talking = [], [], changed, many
        self._quiet.clear()
        started = perf_counter()
        self._until = started + seconds
        for speaker in list(self.speakers.values())[:many]:
            self._say(speaker, perf_counter())
        await self._quiet.wait()
        ordered = sorted(self._latencies)
        return {
            "calls": len(ordered),
            "seconds": self._last - started,
            "p50_ms": percentile(ordered, 0.5) * 1000,
            "p99_ms": percentile(ordered, 0.99) * 1000,
            "wrong": self._wrong[:3],
        }

    def acknowledged(self) -> dict[str, Any]:
        """What the database must say now."""
        return {
            vim_id: [speaker.acknowledged.status, speaker.acknowledged.seq, speaker.acknowledged.holder]
            for vim_id, speaker in self.speakers.items()
            if speaker.acknowledged is not None
        }

    def hear(self, update: UpdateVim, answer: Answer) -> None:
        speaker, now = self.speakers[update.vim_id], perf_counter()
        self._latencies.append(now - speaker.said_at)
        if answer.status != update.status or (update is speaker.acknowledged and not _known(update, answer)):
            self._wrong.append(f"{update} was answered {answer}")
        speaker.acknowledged = update
        if now < self._until:
            self._say(speaker, now)
            return
        self._last = now
        self._talking -= 1
        if not self._talking:
            self._quiet.set()

    def _say(self, speaker: Speaker, now: float) -> None:
        """Another status, or the acknowledged one again: as a monitor does that reads a lease which is not its own."""
        assert self.caller is not None
        said = speaker.said
        if self._changed and speaker.acknowledged is not None:
            news = {**speaker.who, "status": OTHER[said.status], "seq": (said.seq or 0) + 1}
            speaker.said = said = update_of(news)
        speaker.said_at = now
        self.caller.say(said)


def _speaker(vim: dict[str, Any]) -> Speaker:
    who = {
        **{name: vim[name] for name in ("vim_id", "action_id", "generation")},
        "holder": f"{EXECUTOR}:{vim['number']}",
        "reason": "HTTP 300 in 31 ms",
    }
    return Speaker(who, update_of({**who, "status": VimStatus.REACHABLE, "seq": 1}))


def _known(update: UpdateVim, answer: Answer) -> bool:
    """Whether it is the answer to what was acknowledged before."""
    return answer == Answer(status=update.status, applied=False, seq=update.seq)


async def main(vims: list[dict[str, Any]]) -> None:
    settings = Settings.model_validate({"redis_url": sys.argv[1], "prefix": sys.argv[2]})
    callers = Callers(vims)
    callers.caller = Caller(
        connect(settings),
        Keys(settings.prefix),
        EXECUTOR,
        callers.hear,
        new_id=request_ids(),
        rng=random.Random(7),
        request_ttl_s=settings.request_ttl_s,
        requests_max=settings.requests_max,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(callers.caller.run())
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            done = callers.acknowledged() if order.pop("order") == "tell" else await callers.talk(**order)
            print(json.dumps(done), flush=True)
        running.cancel()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[3]).read_text(encoding="utf-8"))))
