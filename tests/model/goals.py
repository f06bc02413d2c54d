"""What must hold: of every status that was stored, and of a world that has settled."""

from collections.abc import Iterator

from tests.model.database import Row, Stored
from tests.model.executor import Executor
from tests.model.parts import KEYS, Parts
from vimmon.lease.model import CommittedStatus, Lease


def stale_writes(stored: list[Stored]) -> Iterator[str]:
    """Statuses of actions that were not wanted; of one action: out of order, or from more than one holder."""
    last: dict[tuple[str, str], Stored] = {}
    for one in stored:
        if one.action_id != one.wanted:
            yield f"{one.action_id} had {one.status} stored of {one.vim_id} while {one.wanted} was wanted"
        before = last.get((one.vim_id, one.action_id))
        if before is not None and before.seq >= one.seq:
            yield f"{one.action_id} had its word {one.seq} stored after its word {before.seq}"
        if before is not None and before.holder != one.holder:
            yield f"{one.action_id} had statuses stored from {before.holder} and from {one.holder}"
        last[one.vim_id, one.action_id] = one


def unsettled(parts: Parts, executors: list[Executor]) -> list[str]:
    """Why the world has not settled; nothing where it has."""
    rows = {row.vim_id: row for row in parts.db.living()}
    found = [why for row in rows.values() for why in _unsettled(parts, executors, row)]
    living = [executor for executor in executors if executor.alive]
    found += [
        f"{executor.name} holds {lease} of {vim_id}, which is not registered"
        for executor in living
        for vim_id, lease in executor.held.items()
        if vim_id not in rows
    ]
    found += [f"{executor.name} waits for an answer" for executor in living if executor.pending]
    lists = parts.redis.data.lists
    found += [f"requests wait in {key}" for key in lists if key.startswith((KEYS.requests, KEYS.taken_index))]
    return found


def _unsettled(parts: Parts, executors: list[Executor], row: Row) -> Iterator[str]:
    holders = [
        (executor, executor.monitors[row.vim_id])
        for executor in executors
        if executor.alive and row.vim_id in executor.monitors
    ]
    if len(holders) != 1:
        yield f"{row.vim_id} is held by {len(holders)} executors"
        return
    executor, monitor = holders[0]
    wanted = Lease(row.generation, row.action_id)
    if executor.held[row.vim_id] != wanted:
        yield f"{row.vim_id} is held as {executor.held[row.vim_id]}, and {wanted} is wanted"
    if monitor.holder != row.holder:
        yield f"{row.vim_id} is held by {monitor.holder}, and its row says {row.holder}"
    truth, said = parts.truth[row.vim_id], monitor.health.status
    if not row.status == said == truth:
        yield f"{row.vim_id} is {truth}, its monitor says {said}, its row {row.status}"
    if parts.redis.get(KEYS.lease(row.vim_id)) != str(wanted):
        yield f"{row.vim_id} has the lease {parts.redis.get(KEYS.lease(row.vim_id))} in Redis, and {wanted} in its row"
    status = CommittedStatus(row.generation, row.seq, row.status, row.holder or "")
    if parts.redis.get(KEYS.status(row.vim_id)) != str(status):
        yield f"{row.vim_id} has {parts.redis.get(KEYS.status(row.vim_id))} in Redis, and {status} in its row"
