"""Rows: executors that die, are told to leave, are paused, or are cut off from Redis while they can see their VIMs."""

import os
import signal
import time
from collections.abc import Callable, Mapping

from tests.chaos.cloud import Cloud, Executor
from tests.chaos.rows import Late, Row, Scale, seconds_until, until
from vimmon.vim import Vim

NOTICED_WITHIN_S = 55
FEWEST_A_SECOND = 1.0  # executions that this Mistral makes, at the worst


def killed(on: Cloud, scale: Scale) -> Row:
    return _ended(on, scale, Row("SIGKILL of an executor"), signal.SIGKILL)


def told_to_leave(on: Cloud, scale: Scale) -> Row:
    return _ended(on, scale, Row("SIGTERM of an executor"), signal.SIGTERM)


def _ended(on: Cloud, scale: Scale, row: Row, how: signal.Signals) -> Row:
    vims = on.brought_up(scale.count(200, 10), name=how.name)
    ids = [vim.id for vim in vims]
    victim, other = on.executor, on.another_executor()
    row.done = f"it held {len(ids)} VIMs, one other lived, two VIMs went down with it"
    try:
        before = sum(on.audit.generations(ids).values())
        os.kill(victim.child.pid, how) if how != signal.SIGKILL else victim.child.kill()
        on.targets.stop(0)
        on.targets.stop(1)
        within_s = scale.s(NOTICED_WITHIN_S) + scale.slack_s
        begun = time.monotonic()
        noticed_s = seconds_until(lambda: sum(on.audit.generations(ids).values()) > before, within_s, "noticed")
        expected = dict.fromkeys(ids, "REACHABLE") | dict.fromkeys(ids[:2], "UNREACHABLE")
        within_s += len(ids) / FEWEST_A_SECOND
        until(lambda: on.all_held(ids, by=other.name), within_s, "all held by the other")
        held_s = time.monotonic() - begun
        until(lambda: on.have_statuses(expected), within_s, "statuses true")
        row.heal_s = time.monotonic() - begun
        row.done += f"; noticed after {noticed_s:.1f} s, all held after {held_s:.1f} s"
        row.restarts = sum(on.audit.generations(ids).values()) - before
        row.must(row.restarts == len(ids), f"{row.restarts} restarts for {len(ids)} lost monitors")
    except Late as late:
        row.why.append(str(late))
    finally:
        victim.child.kill()
        _succeed(on, vims, other)
    row.note_writes(on.audit.stale(ids))
    return row


def paused(on: Cloud, scale: Scale) -> Row:
    row = Row("SIGSTOP of an executor, then SIGCONT")

    def begin(victim: Executor) -> None:
        victim.child.kill(signal.SIGSTOP)

    def end(victim: Executor) -> None:
        victim.child.kill(signal.SIGCONT)

    return _away(on, scale, row, begin, end)


def cut_off(on: Cloud, scale: Scale) -> Row:
    row = Row("executor cut from Redis, not from its VIMs")
    return _away(on, scale, row, lambda victim: victim.valve.hold(), lambda victim: victim.valve.open())


def _away(on: Cloud, scale: Scale, row: Row, begin: Callable[[Executor], None], end: Callable[[Executor], None]) -> Row:
    """The executor is gone to all others, and does not know it. While it can run, it refuses the share of the new
    starts that Mistral gives it all the same; while it cannot, those wait until RabbitMQ misses it."""
    away_s = scale.s(300)
    vims = on.brought_up(scale.count(20, 6), name=row.fault)
    ids = [vim.id for vim in vims]
    victim, other = on.executor, on.another_executor()
    expected = dict.fromkeys(ids, "REACHABLE") | {ids[0]: "UNREACHABLE"}
    first = on.audit.generations(ids)
    row.done = f"{away_s:g} s"
    try:
        begun = time.monotonic()
        begin(victim)
        on.targets.stop(0)
        try:
            row.heal_s = seconds_until(lambda: _elsewhere(on, expected, other) == len(ids), away_s, "elsewhere")
        except Late:
            row.why.append(f"only {_elsewhere(on, expected, other)} of {len(ids)} VIMs were watched elsewhere")
        else:
            row.done += f"; all watched elsewhere after {row.heal_s:.1f} s"
        time.sleep(max(0.0, away_s - (time.monotonic() - begun)))
        row.must(on.all_held(ids, by=other.name) and on.have_statuses(expected), "they did not stay watched elsewhere")
        on.targets.stop(1)  # both see it
        expected[ids[1]] = "UNREACHABLE"
        before = on.audit.generations(ids)
        begun = time.monotonic()
        end(victim)
        within_s = scale.s(90) + scale.slack_s
        until(lambda: not on.held_by(victim.name).intersection(ids), within_s, "its monitors have left")
        until(lambda: _left(victim, first), within_s, "its first monitors have left")
        left_s = time.monotonic() - begun
        until(lambda: on.all_held(ids) and on.have_statuses(expected), scale.s(300), "all held, statuses true")
        row.done += (
            f"; after its return its monitors left in {left_s:.1f} s, all true in {time.monotonic() - begun:.1f} s"
        )
        row.must(on.audit.generations(ids) == before, "a generation grew at its return")
        row.restarts = sum(on.audit.generations(ids).values()) - sum(first.values())
    except Late as late:
        row.why.append(str(late))
    finally:
        victim.child.kill(signal.SIGKILL)
        _succeed(on, vims, other)
    row.note_writes(on.audit.stale(ids))
    return row


def _elsewhere(on: Cloud, expected: Mapping[str, str], other: Executor) -> int:
    """How many of the VIMs the other one watches, and has told what is so."""
    held = [vim_id for vim_id in expected if on.all_held([vim_id], by=other.name)]
    return sum(on.have_statuses({vim_id: expected[vim_id]}) for vim_id in held)


def _left(executor: Executor, generations: Mapping[str, int]) -> bool:
    log = executor.log()
    return all(f"monitor_left vim_id={vim_id} generation={number} " in log for vim_id, number in generations.items())


def _succeed(on: Cloud, vims: list[Vim], other: Executor) -> None:
    on.executor = other
    on.clear(vims)
