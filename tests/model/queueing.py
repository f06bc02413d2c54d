"""How jobs get into the queue, and a VIM another action. Mirrors `mistral/queue.py` and `registry/restarter.py`."""

from collections.abc import Callable

from tests.model.clockwork import Steps
from tests.model.parts import Parts, grant
from tests.model.redis import Job, Link, Redis
from vimmon.lease.model import Lease
from vimmon.mistral.queue import START, STOP, SWEEP
from vimmon.registry.values import Glance


def enqueue_start(vim_id: str, generation: int) -> Callable[[Redis], bool]:
    """JobQueue.start, as a command."""
    return lambda redis: _enqueue(redis, f"start-{vim_id}-{generation}", Job(START, vim_id, generation, redis.clock()))


def enqueue_stop(vim_id: str, action_id: str | None) -> Callable[[Redis], bool]:
    """JobQueue.stop, as a command."""
    job_id = f"stop-{vim_id}-{action_id or 'all'}"
    return lambda redis: _enqueue(redis, job_id, Job(STOP, vim_id, action_id, redis.clock()))


def enqueue_sweep(redis: Redis) -> bool:
    """JobQueue.sweep, as a command."""
    return _enqueue(redis, "sweep", Job(SWEEP, "", None, redis.clock()))


def _enqueue(redis: Redis, job_id: str, job: Job) -> bool:
    return redis.data.jobs.setdefault(job_id, job) is job


def restart(parts: Parts, redis: Link, row: Glance, *, to: int, reason: str, in_vain: bool) -> Steps:
    """Restarter.restart"""
    action_id = parts.new("action-")
    if not parts.db.restart(
        row.vim_id, generation=row.generation, to=to, action_id=action_id, in_vain=in_vain, reason=reason
    ):
        return 0.0
    parts.note(f"restarted {row.vim_id} as {to}:{action_id}: {reason}")
    yield None
    redis(grant(parts, row.vim_id, Lease(to, action_id)))
    yield None
    redis(enqueue_start(row.vim_id, to))
    if row.action_id is not None:
        yield None
        redis(enqueue_stop(row.vim_id, row.action_id))
    return 0.0
