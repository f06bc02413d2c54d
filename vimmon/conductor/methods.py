"""What the conductor can be asked: one function a method, each for a whole batch, each safe to run twice.

The order of a status report: refused from the cache, answered from the cache, else the database. The cache refuses only
what is older than its lease, and answers only a repeat of what it saw committed; everything that is news goes to the
database, which decides.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vimmon.errors import Unreachable
from vimmon.lease.model import LEAP_MAX, CommittedStatus, Lease
from vimmon.lease.store import Cached, LeaseStore
from vimmon.messages import (
    BAD_ACTION,
    INTERNAL_ERROR,
    PLAIN_ANSWERS,
    TRY_AGAIN,
    Answer,
    Refusal,
    Request,
    UpdateCall,
    UpdateVim,
    read_update_vim,
)
from vimmon.registry.store import BatchFailed, Recorded, RecordVerdict, Report, VimStore


@dataclass
class Outcomes:
    """What became of a batch: an answer or a refusal for each request, and what the cache shall know afterwards."""

    answers: list[Answer | Refusal]
    leases: dict[str, Lease] = field(default_factory=dict)
    statuses: dict[str, CommittedStatus] = field(default_factory=dict)
    changes: list[tuple[Report, Recorded]] = field(default_factory=list)


Method = Callable[[Sequence[Request | UpdateCall], LeaseStore, VimStore], Outcomes]


def update_vims(requests: Sequence[Request | UpdateCall], leases: LeaseStore, vims: VimStore) -> Outcomes:
    """`update_vim(vim_id, status, action_id) -> status | "bad_action"`, for each of the requests."""
    outcomes = Outcomes([Refusal(INTERNAL_ERROR, "not handled")] * len(requests))
    said: dict[int, UpdateVim] = {}
    for number, request in enumerate(requests):
        try:
            said[number] = read_update_vim(request)
        except Refusal as refusal:
            outcomes.answers[number] = refusal
    cache = leases.read([update.vim_id for update in said.values()])
    news: list[int] = []
    for (number, update), cached in zip(said.items(), cache, strict=True):
        known = answer_from_cache(update, cached)
        if known is None:
            news.append(number)
        else:
            outcomes.answers[number] = known
    reports = [_report(said[number]) for number in news]
    for number, report, recorded in zip(news, reports, _record(vims, reports), strict=True):
        outcomes.answers[number] = recorded if isinstance(recorded, Refusal) else _conclude(outcomes, report, recorded)
    for update, cached in zip(said.values(), cache, strict=True):
        if cached.lease is not None and cached.lease == outcomes.leases.get(update.vim_id):
            del outcomes.leases[update.vim_id]  # Redis has it; that it lives on is the reconciler's care
    return outcomes


METHODS: Mapping[str, Method] = {"update_vim": update_vims}


def answer_from_cache(update: UpdateVim, cached: Cached) -> Answer | None:
    """`bad_action` for a generation below the lease's; the known status for a repeat; None: ask the database."""
    lease, status = cached.lease, cached.status
    if lease is None or update.generation is None:
        return None
    if update.generation < lease.generation <= update.generation + LEAP_MAX:
        return PLAIN_ANSWERS[BAD_ACTION]
    repeat = (
        status is not None
        and update.seq is not None
        and (lease.generation, lease.action_id) == (update.generation, update.action_id)
        and (status.generation, status.holder) == (update.generation, update.holder)
        and update.seq <= status.seq <= update.seq + LEAP_MAX
    )
    return Answer(status=status.status, applied=False, seq=status.seq) if repeat and status is not None else None


def _report(update: UpdateVim) -> Report:
    return Report(update.vim_id, update.action_id, update.status, update.seq, update.holder, update.reason)


def _record(vims: VimStore, reports: Sequence[Report]) -> list[Recorded | Refusal]:
    """Records them in one transaction; where one breaks it, each in its own, so that only that one fails."""
    try:
        return list(vims.record_statuses(reports))
    except Unreachable as error:
        return [Refusal(TRY_AGAIN, str(error))] * len(reports)
    except BatchFailed as error:
        if len(reports) == 1:
            return [Refusal(INTERNAL_ERROR, str(error))]
        return [recorded for report in reports for recorded in _record(vims, [report])]


def _conclude(outcomes: Outcomes, report: Report, recorded: Recorded) -> Answer:
    """The answer to one report; also notes what the cache shall know of its VIM."""
    row = recorded.row
    if row is not None:
        outcomes.leases[report.vim_id] = Lease(row.generation, row.action_id)
        if row.holder is not None and row.seq > 0:
            outcomes.statuses[report.vim_id] = CommittedStatus(row.generation, row.seq, row.status, row.holder)
    if recorded.verdict == RecordVerdict.BAD_ACTION or row is None:
        return PLAIN_ANSWERS[BAD_ACTION]
    if recorded.verdict == RecordVerdict.KNOWN:
        return Answer(status=row.status, applied=False, seq=row.seq)
    outcomes.changes.append((report, recorded))
    return PLAIN_ANSWERS[report.status]
