"""Has a VIM watched anew, by an action of a higher generation, for whoever found that it must be."""

import logging
import uuid

from vimmon.lease.model import Lease
from vimmon.lease.store import LeaseStore
from vimmon.log import event
from vimmon.mistral.queue import JobQueue
from vimmon.registry.repair import Repair
from vimmon.registry.values import Glance

log = logging.getLogger(__name__)


class Restarter:
    """Raises DatabaseUnreachable, and redis's own errors: what was written then is carried on by the next pass."""

    def __init__(self, repair: Repair, leases: LeaseStore, jobs: JobQueue) -> None:
        self._repair = repair
        self._leases = leases
        self._jobs = jobs

    def restart(self, row: Glance, *, to: int, reason: str, in_vain: bool) -> bool:
        """Another action, of generation `to`, is wanted. False: the VIM has changed since `row` was read."""
        action_id = str(uuid.uuid4())
        if not self._repair.restart(
            row.vim_id, generation=row.generation, to=to, action_id=action_id, reason=reason, in_vain=in_vain
        ):
            return False
        log.info(event("restarted", vim_id=row.vim_id, generation=to, reason=reason))
        self._leases.grant(row.vim_id, Lease(to, action_id))
        self._jobs.start(row.vim_id, to)
        if row.action_id is not None:
            self._jobs.stop(row.vim_id, row.action_id)
        return True
