"""What Redis tells an operator about leases: who holds each, when it last looked, and whether all sources agree.

It only reads. What it says was true when it was asked, decides nothing, and is missing where Redis is away.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, cast

from redis import Redis
from redis.exceptions import ResponseError

from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease, parse_lease, parse_status
from vimmon.vim import Frozen, Vim

BULK = 1000


class Holding(Frozen):
    """One executor that says it holds a VIM. `lease` is as it stands in its held list."""

    executor: str
    lease: str


class LeaseReport(Frozen):
    """Everything known of one VIM's lease. `ttl_s` is None where there is no key, -1 where a key never expires.

    `wanted` is what the database says, None where it does not know the VIM. `differences` is empty where the database,
    Redis and the holder agree.
    """

    vim_id: str
    name: str | None
    wanted: str | None
    key: str
    value: str | None
    ttl_s: float | None
    status_key: str
    status_value: str | None
    status_ttl_s: float | None
    holders: tuple[Holding, ...]
    differences: tuple[str, ...]


@dataclass(frozen=True)
class _Key:
    value: str | None
    ttl_s: float | None


class LeaseView:
    """Raises redis's own errors while Redis is away."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    def complete(self, vims: Sequence[Vim]) -> list[Vim]:
        """The VIMs with `executor` and `last_checked`, where an executor that lives holds the lease that is wanted.

        Two round trips, and a few commands for each executor. The executor is found by the status that it last had
        written.
        """
        statuses = self._many([("MGET", *(self._keys.status(vim.id) for vim in some)) for some in _chunks(vims)])
        asked: dict[str, list[Vim]] = {}
        for vim, status in zip(vims, chain.from_iterable(statuses), strict=True):
            if (executor := _executor_of(_text(status))) is not None:
                asked.setdefault(executor, []).append(vim)
        questions: list[tuple[str, ...]] = []
        for executor, theirs in asked.items():
            ids = [vim.id for vim in theirs]
            questions += [
                ("PTTL", self._keys.executor(executor)),
                ("HMGET", self._keys.held(executor), *ids),
                ("HMGET", self._keys.seen(executor), *ids),
            ]
        answers = self._many(questions)
        held_by: dict[str, dict[str, Any]] = {}
        for (executor, theirs), ttl_ms, held, seen in zip(
            asked.items(), answers[::3], answers[1::3], answers[2::3], strict=True
        ):
            if not isinstance(held, list) or not isinstance(ttl_ms, int) or ttl_ms <= 0:
                continue
            seen = seen if isinstance(seen, list) else [None] * len(theirs)
            for vim, lease, time in zip(theirs, held, seen, strict=True):
                if _text(lease) == _lease_of(vim):
                    held_by[vim.id] = {"executor": executor, "last_checked": _time(_text(time))}
        return [vim.model_copy(update=held_by.get(vim.id, {})) for vim in vims]

    def report(self, vims: Sequence[Vim]) -> list[LeaseReport]:
        """The leases of these registered VIMs. Every executor that lives is asked: none that holds one is missed."""
        wanted = {vim.id: _lease_of(vim) for vim in vims}
        return self._report(list(wanted), wanted, {vim.id: vim.name for vim in vims})

    def report_unregistered(self, vim_id: str) -> LeaseReport | None:
        """What Redis still knows of a VIM that the database does not: a tombstone, for a while. None: nothing."""
        report = self._report([vim_id], {}, {})[0]
        return report if report.value is not None or report.holders else None

    def _report(self, vim_ids: Sequence[str], wanted: Mapping[str, str], names: Mapping[str, str]) -> list[LeaseReport]:
        leases = self._keys_and_ttls([self._keys.lease(vim_id) for vim_id in vim_ids])
        statuses = self._keys_and_ttls([self._keys.status(vim_id) for vim_id in vim_ids])
        holders = self._holders(vim_ids)
        return [
            LeaseReport(
                vim_id=vim_id,
                name=names.get(vim_id),
                wanted=wanted.get(vim_id),
                key=self._keys.lease(vim_id),
                value=lease.value,
                ttl_s=lease.ttl_s,
                status_key=self._keys.status(vim_id),
                status_value=status.value,
                status_ttl_s=status.ttl_s,
                holders=holders[vim_id],
                differences=tuple(differences(wanted.get(vim_id), lease.value, holders[vim_id])),
            )
            for vim_id, lease, status in zip(vim_ids, leases, statuses, strict=True)
        ]

    def _holders(self, vim_ids: Sequence[str]) -> dict[str, tuple[Holding, ...]]:
        found: dict[str, list[Holding]] = {vim_id: [] for vim_id in vim_ids}
        executors = [
            cast(bytes, name).decode("utf-8", "replace") for name in self._redis.zrange(self._keys.executors, 0, -1)
        ]
        ttls = self._many([("PTTL", self._keys.executor(executor)) for executor in executors])
        for executor, ttl_ms in zip(executors, ttls, strict=True):
            if vim_ids and isinstance(ttl_ms, int) and ttl_ms > 0:
                values = cast(list[object], self._redis.hmget(self._keys.held(executor), list(vim_ids)))
                for vim_id, value in zip(vim_ids, values, strict=True):
                    if (lease := _text(value)) is not None:
                        found[vim_id].append(Holding(executor=executor, lease=lease))
        return {vim_id: tuple(holdings) for vim_id, holdings in found.items()}

    def _keys_and_ttls(self, names: Sequence[str]) -> list[_Key]:
        answers = self._many([question for name in names for question in (("GET", name), ("PTTL", name))])
        return [_Key(_text(value), _ttl_s(ttl_ms)) for value, ttl_ms in zip(answers[::2], answers[1::2], strict=True)]

    def _many(self, commands: Sequence[tuple[str, ...]]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py has no types here
        answers: list[Any] = pipeline.execute(raise_on_error=False) if commands else []
        for answer in answers:
            if isinstance(answer, ResponseError) and not str(answer).startswith("WRONGTYPE"):
                raise answer  # a key of another type is shown as missing; a question that was refused is not
        return answers


def differences(wanted: str | None, lease: str | None, holders: Sequence[Holding]) -> list[str]:
    """In what the database, Redis and the holders disagree, in words. `wanted` None: the VIM is not registered."""
    found = []
    if wanted is None:
        if (known := parse_lease(lease)) is None or known.action_id is not None:
            found.append(f"the database does not know this VIM, the lease says {lease or 'nothing'}")
        return found + [f"{holder.executor} holds {holder.lease}, and has not let go yet" for holder in holders]
    if lease is None:
        found.append("there is no lease in Redis")
    elif lease != wanted:
        found.append(f"the database wants {wanted}, the lease says {lease}")
    found += [f"{holder.executor} holds {holder.lease}" for holder in holders if holder.lease != wanted]
    right = [holder for holder in holders if holder.lease == wanted]
    if len(right) != 1:
        found.append("no executor holds it" if not right else f"{len(right)} executors hold it")
    return found


def _chunks(vims: Sequence[Vim]) -> Iterator[Sequence[Vim]]:
    for start in range(0, len(vims), BULK):
        yield vims[start : start + BULK]


def _lease_of(vim: Vim) -> str:
    return str(Lease(vim.generation, vim.action_id))


def _executor_of(status: str | None) -> str | None:
    """The executor in a status key's value: its holder without the monitor's own random part."""
    known = parse_status(status)
    return known.holder.rpartition(":")[0] or None if known else None


def _ttl_s(ttl_ms: object) -> float | None:
    if not isinstance(ttl_ms, int) or ttl_ms == -2:
        return None
    return -1 if ttl_ms == -1 else ttl_ms / 1000


def _time(seconds: str | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(float(seconds), UTC)
    except (ValueError, OverflowError, OSError):  # not what an executor writes
        return None


def _text(value: object) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None
