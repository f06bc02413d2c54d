"""What happened to the VIMs between two looks at them, one event for each thing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from vimmon.cli.output import printable, rfc3339
from vimmon.vim import Frozen, Vim, VimStatus

if TYPE_CHECKING:
    from vimmon.registry.values import StatusChange

Kind = Literal["is", "registered", "changed", "deregistered", "away", "back"]


class Event(Frozen):
    """`old` and `status`: before and after. Of `away` and `back` (the database) only time and reason are known."""

    at: datetime
    event: Kind
    id: str | None = None
    name: str | None = None
    old: VimStatus | None = None
    status: VimStatus | None = None
    reason: str | None = None

    def line(self) -> str:
        """For a person, or `grep`."""
        change = {"is": str(self.status), "changed": f"{self.old} -> {self.status}"}.get(self.event, self.event)
        if self.event == "registered":
            change = f"registered, {self.status}"
        words = [rfc3339(self.at), self.name or "the database", change, self.reason or ""]
        return printable("  ".join(word for word in words if word))

    def concerns(self, status: VimStatus | None) -> bool:
        return status is None or self.event in ("away", "back") or status in (self.old, self.status)


def events(
    before: Mapping[str, Vim] | None,
    after: Sequence[Vim],
    *,
    now: datetime,
    history: "Callable[[str], Iterable[StatusChange]]",
) -> list[Event]:
    """In the order of their time. `before` None: the first look. `history` gives a VIM's changes, the newest first."""
    found: list[Event] = []
    for vim in after:
        old = None if before is None else before.get(vim.id)
        if before is None:
            found.append(_of(vim, "is", at=vim.status_since, status=vim.status, reason=vim.reason))
            continue
        if old is None:
            found.append(_of(vim, "registered", at=vim.created_at, status=VimStatus.PENDING))
        elif (vim.status, vim.status_since) == (old.status, old.status_since):
            continue
        since = old.status_since if old else vim.created_at
        changes = [change for change in history(vim.id) if change.at > since]
        found += [
            _of(vim, "changed", at=change.at, old=change.old, status=change.new, reason=change.reason)
            for change in reversed(changes)
        ]
    gone = (before or {}).keys() - {vim.id for vim in after}
    found += [_of(before[vim_id], "deregistered", at=now, old=before[vim_id].status) for vim_id in gone if before]
    return found if before is None else sorted(found, key=lambda event: event.at)


def _of(
    vim: Vim,
    kind: Kind,
    *,
    at: datetime,
    old: VimStatus | None = None,
    status: VimStatus | None = None,
    reason: str | None = None,
) -> Event:
    return Event(at=at, event=kind, id=vim.id, name=vim.name, old=old, status=status, reason=reason)
