"""Rows: conductors killed and paused under a load of updates."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from uuid import uuid4

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own

from tests.chaos.ground import Ground, Talking, answers, ground, processes_of, settled
from tests.chaos.rows import Row, Scale, until
from tests.support.processes import has_ended
from vimmon.embedded.process import Child
from vimmon.errors import DatabaseUnreachable
from vimmon.lease.model import Lease
from vimmon.vim import Vim

VIMS = 200
PARTS = ("--workers", "0", "--no-reconcile")
LONGEST_GAP_S = 0.2  # between two kills: long enough that they come at any moment of a batch


class Loaded:
    """A ground, 200 VIMs on it, and a load that speaks for them; some VIMs change their action meanwhile."""

    def __init__(self, on: Ground) -> None:
        self.ground = on
        self.rng = random.Random(on.scale.seed)
        self.not_now = 0
        self.vims = {vim.id: vim for vim in on.registered(VIMS)}
        self.load: Talking = on.talking("tests.chaos.load", str(on.scale.seed), env=on.direct)
        self.load.tell(begin=[_action(vim) for vim in self.vims.values()])

    def replace_some(self, count: int) -> None:
        """Another action is wanted for some VIMs; the old ones talk on."""
        for vim_id in self.rng.sample(sorted(self.vims), count):
            old = self.vims[vim_id]
            try:
                new = self.ground.vims.restart(vim_id, expected_generation=old.generation, action_id=str(uuid4()))
            except DatabaseUnreachable:  # a paused conductor has it locked: whoever asks is told to come again
                self.not_now += 1
                return
            self.ground.leases.grant(vim_id, Lease(new.generation, new.action_id))
            self.vims[vim_id] = new
            self.load.tell(replace=_action(new))

    def finish(self, row: Row) -> None:
        """Has the load come to its end, and looks whether all was answered and written as it was said."""
        begun = time.monotonic()
        self.load.tell(finish=True)
        result = self.load.hear(60 + self.ground.scale.s(300))
        row.must(settled(self.ground, self.ground.scale.s(150)), "requests, or taken-lists, are left")
        row.heal_s = time.monotonic() - begun
        rows = self.ground.audit.rows(self.vims)
        for vim_id, (action_id, status, seq) in result["last"].items():
            found = rows[vim_id]
            if (found["action_id"], found["status"], found["status_seq"]) != (action_id, status, seq):
                row.lost += 1
        row.must(len(result["last"]) == VIMS, "not every VIM was spoken of")
        row.must(not row.lost, f"{row.lost} VIMs do not have the last status that was said of them")
        row.must(result["said"] and result.get("unwanted_refused"), "the load said nothing")
        row.must(not result["odd"], f"odd answers: {result['odd'][:2]}")
        row.note_writes(self.ground.audit.stale(self.vims))
        row.done += f"; {result['said']} updates, {result['unwanted_refused']} by unwanted actions"
        # Over whom three conductors die by chance is told so, and comes again: answered too, as was seen above.
        if buried := self.ground.redis.llen(self.ground.keys.dead):
            row.done += f"; {buried} put aside as deadly, and sent again"
        row.done += f"; {self.not_now} changes had to be made again" if self.not_now else ""


@contextmanager
def loaded(folder: Path, scale: Scale) -> Iterator[Loaded]:
    with ground(folder, scale) as on:
        yield Loaded(on)


def conductors_killed(folder: Path, scale: Scale) -> Row:
    row = Row("SIGKILL of conductors at random moments")
    kills = scale.count(1000, 20)
    with loaded(folder, scale) as under:
        on, rng = under.ground, under.rng
        nursery = on.launch("tests.chaos.nursery", "2", env=on.direct)
        whole = on.conductor(*PARTS, env=on.direct)
        nursery.wait_ready(lambda: len(_serving(on, nursery)) == 2, 40)
        whole_kills = 0
        for number in range(kills):
            time.sleep(rng.random() * LONGEST_GAP_S)
            if answers(whole) and rng.random() < 1 / 3:
                whole.kill()
                whole_kills += 1
                whole = on.conductor(*PARTS, env=on.direct, wait=False)
            else:
                _kill_one(on, nursery, rng)
            if number % 2 == 0:
                under.replace_some(1 if number > 0 else VIMS // 4)
        row.done = f"{kills} kills of three, {whole_kills} of them with their supervisor"
        under.finish(row)
    return row


def conductor_paused(folder: Path, scale: Scale) -> Row:
    pause_s, pauses = scale.s(40), scale.count(5, 3)
    row = Row("SIGSTOP of a conductor past its TTL, then SIGCONT", f"{pauses} times, for {pause_s:g} s")
    with loaded(folder, scale) as under:
        on, rng = under.ground, under.rng
        conductors = [on.conductor(*PARTS, env=on.direct) for _ in range(2)]
        under.replace_some(VIMS // 4)
        for number in range(pauses):
            time.sleep(rng.random())
            paused: Child = conductors[number % 2]
            _when_it_has_a_batch_in_hand(on, paused)
            paused.kill(signal.SIGSTOP)
            time.sleep(pause_s)
            under.replace_some(5)
            paused.kill(signal.SIGCONT)
        under.finish(row)
    return row


def _when_it_has_a_batch_in_hand(on: Ground, conductor: Child) -> None:
    """Returns at such a moment, where one is seen; the load is so light that mostly there is none."""
    pids = {process.pid for process in processes_of(conductor)}
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        for taken in on.redis.scan_iter(match=on.keys.taken("*", "*")):
            if int(on.keys.conductor_of(taken.decode()).split(":")[1]) in pids:
                return


def _kill_one(on: Ground, nursery: Child, rng: random.Random) -> None:
    """Kills one of those that have begun to serve, as soon as there is one."""
    rng.choice(until(lambda: _serving(on, nursery), 40, "a conductor that serves")).kill()


def _serving(on: Ground, nursery: Child) -> list[psutil.Process]:
    known = {int(name.split(b":")[1]) for name in cast(list[bytes], on.redis.zrange(on.keys.conductors, 0, -1))}
    return [process for process in processes_of(nursery) if process.pid in known and not has_ended(process)]


def _action(vim: Vim) -> dict[str, object]:
    return {"vim_id": vim.id, "action_id": vim.action_id, "generation": vim.generation}
