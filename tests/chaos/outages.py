"""Rows: the database away; a clock that is wrong; two reconcilers, or two servers, at once."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.ground import ROOT, Ground, ground
from tests.chaos.rows import Row, Scale, until
from tests.chaos.watching import VIMS, Watched
from vimmon.embedded.process import Child

HOUR_S = 3600
CLOCK = """\
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {off}
time.time_ns = lambda: _time_ns() + {off} * 10**9
import datetime
class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)
datetime.datetime = _Datetime
"""
UPDATES = 20


def database_away(vims: Watched) -> Row:
    away_s = vims.on.scale.s(120)
    row = Row("database away", f"{away_s:g} s: first refusing, then silent; VIMs go down, and up again")
    valve = vims.on.database_valve
    valve.shut()
    vims.down(0)
    vims.down(1)
    time.sleep(away_s / 2)
    valve.hold()
    vims.up(1)
    vims.down(2)
    asked = vims.on.targets.asked
    time.sleep(away_s / 2)
    row.must(vims.on.targets.asked >= asked + VIMS / 4, "the VIMs were not probed meanwhile")
    valve.open()
    return vims.judge(row)


def clocks_off(folder: Path, scale: Scale) -> Row:
    """The clock that Python's programs see is moved; those of Redis and of the database go right."""
    row = Row("host clocks one hour off", "conductors and executors an hour ahead; a flush, a VIM going down")
    clock = folder / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(CLOCK.format(off=HOUR_S))
    shifted = {"PYTHONPATH": f"{clock}:{ROOT}"}
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"], env=shifted, capture_output=True, check=True
    )
    row.must(float(told.stdout) > time.time() + HOUR_S / 2, "the clock was not moved")
    with ground(folder, scale, targets=VIMS) as on:
        on.conductor("--workers", "0")  # whose clock is right
        vims = Watched(on, env=shifted, conductors=1)
        on.redis.flushall()
        vims.down(0)
        return vims.judge(row)


def two_reconcilers(vims: Watched) -> Row:
    """Both work all the time, since the key by which they take turns is deleted; nobody carries out the starts."""
    row, scale = Row("two reconcilers at once", "an executor killed while both work at the same time"), vims.on.scale
    passes = [_failed_passes(child) for child in vims.conductors]
    with _no_turns(vims.on):
        lost = vims.ids[::2]
        vims.hosts[0].stop()
        begun = time.monotonic()
        within_s = scale.s(55) + scale.slack_s
        until(lambda: min(vims.on.audit.generations(lost).values()) > 1, within_s, "noticed")
        row.heal_s = time.monotonic() - begun
        time.sleep(scale.s(40))  # for the second of them to do the same, if it does
        generations = vims.on.audit.generations(vims.ids)
        row.restarts = sum(generations.values()) - len(vims.ids)
        row.must(row.restarts == len(lost), f"{row.restarts} restarts for {len(lost)} lost monitors")
        row.must(max(generations.values()) == 2, "a generation grew twice")
        row.must([_failed_passes(child) for child in vims.conductors] == passes, "a pass failed")
        row.note_writes(vims.on.audit.stale(vims.ids))
    return row


def _failed_passes(conductor: Child) -> int:
    return conductor.log.read_text().count("reconcile_not_done")


@contextmanager
def _no_turns(on: Ground) -> Iterator[None]:
    stop = threading.Event()

    def delete() -> None:
        while not stop.wait(0.005):
            on.redis.delete(on.keys.reconciler)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def two_servers(folder: Path, scale: Scale) -> Row:
    """Two processes change the same VIM at the same time: each change is accepted whole, or refused."""
    updates = scale.count(200, UPDATES)
    row = Row("two servers at once", f"both change the same VIM, {updates} times each")
    with ground(folder, scale) as on:
        (vim,) = on.registered(1)
        begun = time.monotonic()
        servers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.changer", vim.id, f"http://192.0.2.{number}:5000"],
                cwd=ROOT,
                env={**on.direct},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in (1, 2)
        ]
        for server in servers:
            assert server.stdout is not None
            server.stdout.readline()
        for server in servers:
            assert server.stdin is not None
            server.stdin.write("change\n" * updates)
            server.stdin.flush()
        outcomes = "".join(server.communicate()[0] for server in servers).split()
        row.heal_s = time.monotonic() - begun
        accepted = outcomes.count("accepted")
        row.must(len(outcomes) == 2 * updates, "a server ended early")
        row.done += f": {accepted} accepted, {outcomes.count('refused')} refused"
        found = on.audit.rows([vim.id])[vim.id]
        row.restarts = found["generation"] - 1
        row.must(row.restarts == accepted, f"{row.restarts} generations for {accepted} accepted changes")
        lease = on.leases.read([vim.id])[0].lease
        row.must(str(lease) == f"{found['generation']}:{found['action_id']}", f"the lease is {lease}")
        row.note_writes(on.audit.stale([vim.id]))
    return row
