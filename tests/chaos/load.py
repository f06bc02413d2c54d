"""`python -m tests.chaos.load SEED`: monitors that have news all the time, and others, unwanted ones, that talk on.

It speaks through the calling side that executors use. Each line of standard input is an order, in JSON: `begin` with
actions; `replace` the action of a VIM, the old one goes on talking; `finish`: say nothing new, wait for every answer,
print what came of it, and end.
"""

import asyncio
import json
import random
import sys
import uuid
from collections import Counter
from typing import Any

from tests.chaos.audit import UNWANTED
from vimmon.actions.client import Caller
from vimmon.actions.connection import connect
from vimmon.lease.keys import Keys
from vimmon.messages import BAD_ACTION, Answer, UpdateVim, update_of
from vimmon.settings import load_settings
from vimmon.vim import VimStatus

SAID = (VimStatus.REACHABLE, VimStatus.UNREACHABLE)
PAUSE_S = 0.5  # at most, between an answer and the next thing to say


class Load:
    def __init__(self, seed: int) -> None:
        settings = load_settings()
        self.redis = connect(settings)
        self.rng = random.Random(seed)
        self.loop = asyncio.get_running_loop()
        self.counts: Counter[str] = Counter()
        self.actions: dict[str, dict[str, Any]] = {}  # vim_id → the action that is wanted, as far as known here
        self.old: dict[str, dict[str, Any]] = {}
        self.seqs: Counter[str] = Counter()  # by action
        self.last: dict[str, UpdateVim] = {}  # the last that was said by an action that was wanted then
        self.acknowledged: dict[str, tuple[str, str, int]] = {}
        self.denied: set[str] = set()
        self.open: set[str] = set()  # the VIMs whose wanted action waits for an answer
        self.open_old: set[str] = set()
        self.odd: list[str] = []
        self.finishing = asyncio.Event()
        options: dict[str, Any] = {"request_ttl_s": 60, "requests_max": 100_000, "rng": self.rng}
        options["new_id"] = lambda: str(uuid.uuid4())
        self.wanted = Caller(self.redis, Keys(settings.prefix), f"load:{uuid.uuid4()}", self.heard, **options)
        self.unwanted = Caller(self.redis, Keys(settings.prefix), f"load:{uuid.uuid4()}", self.heard_old, **options)

    async def run(self) -> None:
        callers = [asyncio.create_task(caller.run()) for caller in (self.wanted, self.unwanted)]
        orders = asyncio.create_task(asyncio.to_thread(self.read_orders))
        await self.finishing.wait()
        while self.open or self.open_old:  # noqa: ASYNC110  # two conditions, that hold together only once
            await asyncio.sleep(0.02)
        print(json.dumps(self.result()), flush=True)
        await orders
        for task in callers:
            task.cancel()

    def read_orders(self) -> None:
        for line in sys.stdin:
            order = json.loads(line)
            self.loop.call_soon_threadsafe(self.obey, order)
            if "finish" in order:
                return

    def obey(self, order: dict[str, Any]) -> None:
        for action in order.get("begin", []):
            self.actions[action["vim_id"]] = action
            self.speak_later(action)
        if replaced := order.get("replace"):
            vim_id = replaced["vim_id"]
            old, self.actions[vim_id] = self.actions[vim_id], replaced
            self.wanted.forget(vim_id)
            self.open.discard(vim_id)
            self.old[vim_id] = old
            self.speak(replaced)
            self.speak_old(vim_id)
        if "finish" in order:
            self.finishing.set()

    def speak_later(self, action: dict[str, Any]) -> None:
        self.loop.call_later(self.rng.random() * PAUSE_S, self.speak, action)

    def speak(self, action: dict[str, Any]) -> None:
        vim_id, action_id = action["vim_id"], action["action_id"]
        if self.finishing.is_set() or self.actions[vim_id]["action_id"] != action_id:
            return
        self.seqs[action_id] += 1
        update = update_of(
            {
                "vim_id": vim_id,
                "action_id": action_id,
                "generation": action["generation"],
                "seq": self.seqs[action_id],
                "status": self.rng.choice(SAID),
                "holder": f"load:{action_id}",
                "reason": "said by the load",
            }
        )
        self.last[vim_id] = update
        self.open.add(vim_id)
        self.counts["said"] += 1
        self.wanted.say(update)

    def heard(self, update: UpdateVim, answer: Answer) -> None:
        vim_id = update.vim_id
        if self.actions[vim_id]["action_id"] != update.action_id:
            return
        self.open.discard(vim_id)
        self.counts["answered"] += 1
        if answer.status == BAD_ACTION:
            self.denied.add(update.action_id)  # so it is, if it was replaced and this load is yet to be told
            return
        if answer.status != update.status or (not answer.applied and answer.seq != update.seq):
            self.odd.append(f"{update} was answered {answer}")
        self.acknowledged[vim_id] = (update.action_id, update.status, update.seq or 0)
        self.speak_later(self.actions[vim_id])

    def speak_old(self, vim_id: str) -> None:
        if self.finishing.is_set():
            return
        old, wanted = self.old[vim_id], self.actions[vim_id]
        self.open_old.add(vim_id)
        self.unwanted.say(
            update_of(
                {
                    "vim_id": vim_id,
                    "action_id": old["action_id"],
                    "generation": self.rng.choice(
                        [None, old["generation"], wanted["generation"], wanted["generation"] + 5]
                    ),
                    "seq": self.rng.randrange(1, 2000),
                    "status": self.rng.choice(SAID),
                    "holder": f"load:{self.rng.choice([old, wanted])['action_id']}",
                    "reason": UNWANTED,
                }
            )
        )

    def heard_old(self, update: UpdateVim, answer: Answer) -> None:
        self.open_old.discard(update.vim_id)
        self.counts["unwanted_refused"] += 1
        if answer.status != BAD_ACTION:
            self.odd.append(f"unwanted: {update} was answered {answer}")
        self.loop.call_later(self.rng.random() * PAUSE_S, self.speak_old, update.vim_id)

    def result(self) -> dict[str, Any]:
        wrong = {action["action_id"] for action in self.actions.values()} & self.denied
        return {
            **self.counts,
            "last": {vim_id: [said.action_id, said.status, said.seq] for vim_id, said in self.last.items()},
            "acknowledged": self.acknowledged,
            "odd": self.odd + [f"the wanted action {action_id} was denied" for action_id in wrong],
        }


async def main() -> None:
    await Load(int(sys.argv[1])).run()


if __name__ == "__main__":
    asyncio.run(main())
