"""Compares what Redis says of leases and statuses with their rows: what to write anew, and what proves a lost commit.

Almost always all say the same: so first texts are compared, as they were read, and only what differs is understood.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from vimmon.lease.model import (
    LEAP_MAX,
    CommittedStatus,
    Lease,
    lease_text,
    parse_lease,
    parse_status,
    status_text,
)
from vimmon.registry.values import Expected, Glance

Said = tuple[bytes | None, bytes | None]  # the values of a VIM's lease key and status key
NOTHING: Said = (None, None)


@dataclass
class Differences:
    """`found`: leases that are not what their row says. `leases`, `statuses`: what Redis is to be told. `ahead`: the
    VIMs whose status in Redis the database must have lost."""

    found: dict[str, Lease] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    statuses: dict[str, CommittedStatus] = field(default_factory=dict)
    ahead: list[str] = field(default_factory=list)


def odd_ones(
    rows: Iterable[Expected], said: Mapping[str, Said], held: Mapping[str, str], suspects: Set[str]
) -> list[str]:
    """The VIMs of which it is not plain at first sight that nothing is to be done: all but those that have been heard,
    of which Redis says what their row says, and whose lease the one executor that holds them holds.

    `held`: that lease, of VIMs that one executor holds. `suspects`: odd whatever is said of them.
    """
    odd = []
    for vim_id, lease, status in rows:
        if (
            lease is None
            or status is None
            or held.get(vim_id) != lease
            or said.get(vim_id) != (lease.encode(), status.encode())
            or vim_id in suspects
        ):
            odd.append(vim_id)
    return odd


def compare(glances: Iterable[Glance], said: Mapping[str, Said], *, refresh: bool) -> Differences:
    """`refresh`: tell Redis everything, so that it lives on."""
    result = Differences()
    for glance in glances:
        lease, status = said.get(glance.vim_id, NOTHING)
        if refresh or lease != lease_text(glance.generation, glance.action_id).encode():
            _compare_lease(glance, lease, result, refresh=refresh)
        if refresh or status != _status_text(glance):
            _compare_status(glance, status, result, refresh=refresh)
    return result


def _compare_lease(glance: Glance, text: bytes | None, result: Differences, *, refresh: bool) -> None:
    wanted, found = Lease(glance.generation, glance.action_id), parse_lease(_decoded(text))
    if found is not None and found != wanted:
        result.found[glance.vim_id] = found
    if refresh or found != wanted:
        result.leases[glance.vim_id] = wanted


def _compare_status(glance: Glance, text: bytes | None, result: Differences, *, refresh: bool) -> None:
    found = parse_status(_decoded(text))
    if found is not None and found.generation == glance.generation and _leads(found.seq, glance.seq):
        result.ahead.append(glance.vim_id)
    elif _has_status(glance):
        wanted = CommittedStatus(glance.generation, glance.seq, glance.status, glance.holder or "")
        if refresh or found != wanted:
            result.statuses[glance.vim_id] = wanted


def _leads(seq: int, than: int) -> bool:
    """Whether Redis, though it was read earlier, remembers a report that the row does not know."""
    return than < seq <= than + LEAP_MAX


def _has_status(glance: Glance) -> bool:
    return glance.holder is not None and glance.seq > 0


def _status_text(glance: Glance) -> bytes | None:
    if not _has_status(glance):
        return None
    return status_text(glance.generation, glance.seq, glance.status, glance.holder or "").encode()


def _decoded(text: bytes | None) -> str | None:
    return None if text is None else text.decode("utf-8", "replace")
