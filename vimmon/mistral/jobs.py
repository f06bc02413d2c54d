"""The RQ jobs that talk to Mistral. Each may run twice, or late: it first asks the database what is wanted now."""

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from vimmon.errors import MistralRefused
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.lease.store import LeaseStore
from vimmon.log import event
from vimmon.mistral.client import MistralClient
from vimmon.mistral.queue import JobQueue
from vimmon.mistral.sweep import Watched, sweep
from vimmon.mistral.workflow import workflow_input
from vimmon.probes import probe_for
from vimmon.registry.database import open_engine
from vimmon.registry.repair import Repair
from vimmon.registry.restarter import Restarter
from vimmon.registry.store import VimStore
from vimmon.settings import load_settings

log = logging.getLogger(__name__)

RESTARTS_MAX = 100  # in one sweep: a Mistral that lost everything gets it back step by step


@dataclass(frozen=True)
class Tools:
    vims: VimStore
    mistral: MistralClient
    repair: Repair
    restarter: Restarter


@cache
def tools() -> Tools:
    """Made in the process that runs the job, from its environment."""
    settings = load_settings()
    engine, redis = open_engine(settings.database_url.get_secret_value()), connect(settings)
    repair = Repair(engine)
    leases = LeaseStore(redis, Keys(settings.prefix), ttl_s=settings.lease_ttl_s)
    restarter = Restarter(repair, leases, JobQueue(redis, name=settings.prefix))
    return Tools(VimStore(engine), MistralClient(settings), repair, restarter)


def start_monitor(vim_id: str, generation: int) -> None:
    """The monitor of this generation runs in Mistral afterwards, once, unless it is no longer wanted."""
    carry_out_start(tools(), vim_id, generation)


def stop_monitor(vim_id: str, action_id: str | None) -> None:
    """That execution is gone afterwards; where the VIM is de-registered, all of it that Mistral has."""
    carry_out_stop(tools(), vim_id, action_id)


def sweep_mistral() -> None:
    """Mistral has nothing of this installation that no VIM wants afterwards; what is gone from it is started again."""
    carry_out_sweep(tools())


def carry_out_start(with_: Tools, vim_id: str, generation: int) -> None:
    wanted = with_.vims.wanted(vim_id)
    if wanted is None or wanted.action_id is None or wanted.generation != generation:
        log.info(event("start_not_wanted", vim_id=vim_id, generation=generation))
        if wanted is None or wanted.deleted:  # an earlier try of this job may have been killed in the middle
            carry_out_stop(with_, vim_id, None)
        return
    probe = probe_for(wanted.type, wanted.auth_url, wanted.probe).model_dump(mode="json")
    with_.mistral.ensure_workflow(vim_id, with_.vims.installation_id(), new=generation == 1)
    execution_id = with_.mistral.start(
        vim_id,
        wanted.action_id,
        workflow_input(vim_id=vim_id, action_id=wanted.action_id, generation=generation, probe=probe),
    )
    if with_.vims.record_execution(vim_id, generation=generation, execution_id=execution_id):
        log.info(event("monitor_started", vim_id=vim_id, generation=generation, execution_id=execution_id))
    else:  # overtaken by a change, whose own stop may have come too early to find this execution
        carry_out_stop(with_, vim_id, wanted.action_id)


def carry_out_stop(with_: Tools, vim_id: str, action_id: str | None) -> None:
    if action_id is not None:
        with_.mistral.delete_execution(action_id)
    if _is_gone(with_, vim_id):
        executions = with_.mistral.executions_of(vim_id)
        if _is_gone(with_, vim_id):  # asked once more: what was started for a VIM that came back is none of these
            with_.mistral.delete_all(vim_id, executions)
            with_.vims.record_clean(vim_id)
    log.info(event("monitor_stopped", vim_id=vim_id, action_id=action_id))


def _is_gone(with_: Tools, vim_id: str) -> bool:
    wanted = with_.vims.wanted(vim_id)
    return wanted is None or wanted.deleted


def carry_out_sweep(with_: Tools) -> None:
    began = time.monotonic()
    existing = with_.mistral.existing(with_.vims.installation_id())
    took_s = time.monotonic() - began
    rows = {glance.vim_id: glance for glance in with_.repair.glance_at_all()}
    living = {
        vim_id: Watched(row.action_id, row.execution_id, row.awaited_s - took_s, row.starts)
        for vim_id, row in rows.items()
        if not row.deleted
    }
    found = sweep(existing, living)
    for execution_id in found.executions:
        with _alone(execution_id):
            with_.mistral.delete_execution(execution_id)
    for vim_id in found.leftovers:
        with _alone(vim_id):
            carry_out_stop(with_, vim_id, None)
    restarts = sorted(found.restarts, key=lambda vim_id: rows[vim_id].awaited_s, reverse=True)[:RESTARTS_MAX]
    for vim_id in restarts:
        row = rows[vim_id]
        with_.restarter.restart(row, to=row.generation + 1, reason=found.restarts[vim_id], in_vain=True)
    if found.executions or found.leftovers or found.restarts:
        counts = {name: len(getattr(found, name)) for name in ("executions", "leftovers", "restarts")}
        log.info(event("mistral_swept", **counts, restarted=len(restarts)))


@contextlib.contextmanager
def _alone(what: str) -> Iterator[None]:
    """What Mistral will not let go is no reason to keep the others."""
    try:
        yield
    except MistralRefused as refused:
        log.warning(event("not_removed_from_mistral", id=what, error=refused))
