"""What the conductor can be asked: one function a method, each for a whole batch, each safe to run twice.

The order of a status report: refused from the cache, answered from the cache, else the database. The cache refuses only
what is older than its lease, and answers only a repeat of what it saw committed; everything that is news goes to the
database, which decides.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from vimmon.conductor.events import Change
from vimmon.errors import Unreachable
from vimmon.lease.model import LEAP_MAX, CommittedStatus, Lease, lease_text
from vimmon.lease.store import Cached, LeaseStore, read_cached
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
from vimmon.registry.store import BatchFailed, Recorded, RecordVerdict, VimStore


@dataclass
class Outcomes:
    """What became of a batch: an answer or a refusal for each request, and what the cache shall know afterwards."""

    answers: list[Answer | Refusal]
    leases: dict[str, Lease] = field(default_factory=dict)
    statuses: dict[str, CommittedStatus] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


VIM_ID = attrgetter("vim_id")
OWN = b"what its caller says"  # a lease that is the caller's own

Method = Callable[[Sequence[Request | UpdateCall], LeaseStore, VimStore], Outcomes]


def update_vims(requests: Sequence[Request | UpdateCall], leases: LeaseStore, vims: VimStore) -> Outcomes:
    """`update_vim(vim_id, status, action_id) -> status | "bad_action"`, for each of the requests."""
    outcomes = Outcomes([Refusal(INTERNAL_ERROR, "not handled")] * len(requests))
    answers = outcomes.answers
    said: dict[int, UpdateVim] = {}
    for number, request in enumerate(requests):
        try:
            said[number] = read_update_vim(request)
        except Refusal as refusal:
            answers[number] = refusal.with_traceback(None)  # which refers to this list
    news: dict[int, bytes | None] = {}
    cache = leases.values([*map(VIM_ID, said.values())])
    for (number, update), (lease, status) in zip(said.items(), cache, strict=True):
        if is_news(update, lease, status):
            news[number] = OWN
        elif (known := answer_from_cache(update, read_cached(lease, status))) is None:
            news[number] = lease
        else:
            answers[number] = known
    updates = [said[number] for number in news]
    for update, recorded, (number, lease) in zip(updates, _record(vims, updates), news.items(), strict=True):
        answers[number] = recorded if isinstance(recorded, Refusal) else _conclude(outcomes, update, lease, recorded)
    return outcomes


METHODS: Mapping[str, Method] = {"update_vim": update_vims}


def is_news(update: UpdateVim, lease: bytes | None, status: bytes | None) -> bool:
    """Whether its lease key and its status key say at first sight, as they mostly do, that the cache has no answer: the
    lease is the caller's own, and what it says was not yet committed. False says nothing."""
    if update.seq is None or update.generation is None:
        return False
    if lease != lease_text(update.generation, update.action_id).encode():
        return False
    try:
        return status is None or int(status.split(b":", 2)[1]) < update.seq
    except (ValueError, IndexError):
        return False


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


def _record(vims: VimStore, reports: Sequence[UpdateVim]) -> list[Recorded | Refusal]:
    """Records them in one transaction; where one breaks it, each in its own, so that only that one fails."""
    try:
        return list(vims.record_statuses(reports))
    except Unreachable as error:
        return [Refusal(TRY_AGAIN, str(error))] * len(reports)
    except BatchFailed as error:
        if len(reports) == 1:
            return [Refusal(INTERNAL_ERROR, str(error))]
        return [recorded for report in reports for recorded in _record(vims, [report])]


def _conclude(outcomes: Outcomes, update: UpdateVim, lease: bytes | None, recorded: Recorded) -> Answer:
    """The answer to one update; also notes what the cache shall know of its VIM, whose lease key said `lease`."""
    verdict, row, old = recorded
    if row is None:
        return PLAIN_ANSWERS[BAD_ACTION]
    generation, action_id, status, seq, holder = row
    if lease is OWN:
        stands = generation == update.generation and action_id == update.action_id
    else:
        stands = lease == lease_text(generation, action_id).encode()
    vim_id = update.vim_id
    if not stands:  # what Redis has lives on by the reconciler's care
        outcomes.leases[vim_id] = Lease(generation, action_id)
    if holder is not None and seq > 0:
        outcomes.statuses[vim_id] = CommittedStatus(generation, seq, status, holder)
    if verdict is RecordVerdict.APPLIED:
        if old is not None and old is not status:
            outcomes.changes.append(Change(vim_id, str(generation), old, status, update.reason))
        return PLAIN_ANSWERS[status]
    if verdict is RecordVerdict.KNOWN:
        return Answer(status=status, applied=False, seq=seq)
    return PLAIN_ANSWERS[BAD_ACTION]
