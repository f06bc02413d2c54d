"""What an operator asks an executor: to probe one of its VIMs now; and what the executor says to that."""

from datetime import datetime

from pydantic import Field

from vimmon.probes import Outcome, Trace
from vimmon.vim import Frozen, VimStatus

ASK_MAX_BYTES = 1024
STILL = b"still"  # comes before the answer, every STILL_S: the executor is at it, or waits for a turn
STILL_S = 1.5


class Ask(Frozen):
    """To probe a VIM now. `id` names the list that the answer is put into."""

    id: str = Field(pattern=r"^[0-9a-zA-Z-]{1,64}$")
    vim_id: str = Field(min_length=1, max_length=64)


class Phases(Frozen):
    """How long each part of a probe took. None: it did not come that far, or has no such part."""

    turn_ms: float | None = None
    name_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    answer_ms: float | None = None


class Unfinished(Frozen):
    """The phase that a probe did not get past, as `tls`, and how long it had lasted when the probe ended."""

    phase: str
    ms: float


class Found(Frozen):
    """What one probe found. `status` None: the executor that was asked does not hold this VIM. `address`: the one that
    answered, or the last that was tried."""

    vim_id: str
    executor: str
    status: VimStatus | None = None
    reason: str = ""
    address: str | None = None
    rtt_ms: float | None = None
    certificate_expires_at: datetime | None = None
    phases: Phases = Phases()
    unfinished: Unfinished | None = None


def found(vim_id: str, executor: str, outcome: Outcome, trace: Trace) -> Found:
    phases = {name: getattr(trace, name) for name in Phases.model_fields}
    return Found(
        vim_id=vim_id,
        executor=executor,
        status=outcome.status,
        reason=outcome.reason,
        address=trace.address,
        rtt_ms=outcome.rtt_ms,
        certificate_expires_at=outcome.certificate_expires_at,
        phases=Phases.model_validate(phases),
        unfinished=Unfinished(phase=trace.unfinished, ms=trace.unfinished_ms or 0) if trace.unfinished else None,
    )
