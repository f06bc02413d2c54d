"""Each guard of the protocol, so that it can be taken out of the model, and what the model then does instead.

Those that are decisions are taken out of the real ones: what they see is doctored, or they are called differently.
"""

from dataclasses import replace
from enum import StrEnum

from vimmon.actions.monitor import Left, Monitor
from vimmon.conductor.methods import answer_from_cache
from vimmon.lease.model import CommittedStatus, Lease, Verdict, judge
from vimmon.lease.store import Cached
from vimmon.messages import BAD_ACTION, Answer, UpdateVim
from vimmon.registry.reports import Recorded, Report, RowState, decide


class Guard(StrEnum):
    """What keeps the protocol right. In the comment: where the real one is."""

    ACTION_ID_IN_UPDATE = "action_id in the UPDATE"  # registry/guarding.py guarded, registry/reports.py decide
    SEQ_IN_UPDATE = "seq in the UPDATE"  # as above
    HOLDER_IN_UPDATE = "holder in the UPDATE"  # as above
    SEQ_0_AT_A_NEW_GENERATION = "seq 0 at a new generation"  # registry/repair.py, registry/store.py restart
    GENERATION_AT_EXIT = "generation compared at exit"  # lease/model.py judge
    REFUSING_ONLY_LOWER = "refusing from the cache only lower generations"  # conductor/methods.py answer_from_cache
    CACHED_GENERATION = "a cached answer tied to the generation"  # as above
    CACHED_HOLDER = "a cached answer tied to the holder"  # as above
    CACHED_SEQ = "a cached answer tied to the seq"  # as above
    COMPARE_AND_SET = "compare-and-set of leases"  # lease/store.py ADVANCE
    UNIQUE_TAKEN_LISTS = "unique taken-lists"  # conductor/requests.py RequestList.take
    TWO_PASS_VERDICT = "two-pass verdict"  # conductor/plan.py _why_restart
    EPOCH_WAIT = "epoch wait"  # conductor/plan.py _hold_until
    GROWING_GRACE = "growing start grace"  # conductor/plan.py _why_restart
    SAYING_AGAIN = "saying an overwritten status again"  # actions/monitor.py Monitor.checked


def decide_without(missing: frozenset[Guard], row: RowState | None, report: Report) -> Recorded:
    """The real decision, blind to what is missing."""
    if row is None or row.action_id is None:
        return decide(row, report)
    seen = row
    if Guard.ACTION_ID_IN_UPDATE in missing:
        seen = seen._replace(action_id=report.action_id)
    if Guard.SEQ_IN_UPDATE in missing and report.seq is not None:
        seen = seen._replace(seq=report.seq - 1)
    if Guard.HOLDER_IN_UPDATE in missing:
        seen = seen._replace(holder=report.holder)
    return decide(seen, report)


def judge_by_the_action_alone(lease: Lease | None, *, generation: int, action_id: str) -> Verdict:
    """Leaves on any other lease, as one would that finds a bare action id in the cache."""
    verdict = judge(lease, generation=generation, action_id=action_id)
    return Verdict.EXIT if lease is not None and verdict is Verdict.ASK else verdict


def answer_whatever_generation(update: UpdateVim, cached: Cached) -> Answer | None:
    """Takes a status of another generation for one of this."""
    status = cached.status and cached.status._replace(generation=update.generation or 0)
    return answer_from_cache(update, Cached(cached.lease, status))


def answer_whatever_holder(update: UpdateVim, cached: Cached) -> Answer | None:
    """Takes another holder's word for this one's."""
    return answer_from_cache(
        update, Cached(cached.lease, cached.status and cached.status._replace(holder=update.holder))
    )


def answer_whatever_seq(update: UpdateVim, cached: Cached) -> Answer | None:
    """Takes what is new for a repeat."""
    repeat = update if cached.status is None else replace(update, seq=cached.status.seq)
    return answer_from_cache(repeat, cached)


def refuse_all_others(update: UpdateVim, cached: Cached) -> Answer | None:
    """`bad_action` for whoever the cached lease does not name."""
    other = cached.lease is not None and cached.lease.action_id != update.action_id
    return Answer(status=BAD_ACTION) if other else None


class SilentMonitor(Monitor):
    """Never learns at a check that another status stands where its own was acknowledged."""

    def checked(self, lease: Lease | None, status: CommittedStatus | None) -> UpdateVim | Left | None:
        return super().checked(lease, self.acknowledged or status)
