"""The RQ jobs that talk to Mistral. Each may run twice, or late: it first asks the database what is wanted now."""

import logging
from dataclasses import dataclass
from functools import cache

from vimmon.log import event
from vimmon.mistral.client import MistralClient
from vimmon.mistral.workflow import workflow_input
from vimmon.probes import probe_for
from vimmon.registry.database import open_engine
from vimmon.registry.store import VimStore
from vimmon.settings import load_settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tools:
    vims: VimStore
    mistral: MistralClient


@cache
def tools() -> Tools:
    """Made in the process that runs the job, from its environment."""
    settings = load_settings()
    return Tools(VimStore(open_engine(settings.database_url.get_secret_value())), MistralClient(settings))


def start_monitor(vim_id: str, generation: int) -> None:
    """The monitor of this generation runs in Mistral afterwards, once, unless it is no longer wanted."""
    carry_out_start(tools(), vim_id, generation)


def stop_monitor(vim_id: str, action_id: str | None) -> None:
    """That execution is gone afterwards; where the VIM is de-registered, all of it that Mistral has."""
    carry_out_stop(tools(), vim_id, action_id)


def carry_out_start(with_: Tools, vim_id: str, generation: int) -> None:
    wanted = with_.vims.wanted(vim_id)
    if wanted is None or wanted.action_id is None or wanted.generation != generation:
        log.info(event("start_not_wanted", vim_id=vim_id, generation=generation))
        return
    probe = probe_for(wanted.type, wanted.auth_url, wanted.probe).model_dump(mode="json")
    with_.mistral.ensure_workflow(vim_id, with_.vims.installation_id())
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
    wanted = with_.vims.wanted(vim_id)
    if wanted is None or wanted.deleted:
        with_.mistral.delete_all(vim_id)
        with_.vims.record_clean(vim_id)
    log.info(event("monitor_stopped", vim_id=vim_id, action_id=action_id))
