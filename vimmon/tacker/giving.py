"""Decides which statuses Tacker is to be told: those whose attribute `extra` says something else. No I/O."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vimmon.tacker.listing import EXTRA_KEY, Listing
from vimmon.vim import Vim, VimOrigin, VimStatus


@dataclass(frozen=True, slots=True)
class Giving:
    """What a VIM's `extra` is to say. Tacker merges it into what stands there, and can never take it out again."""

    vim_id: str
    extra: dict[str, dict[str, str]]


def givings(listing: Listing, vims: Sequence[Vim]) -> Iterator[Giving]:
    """Once for each change of a status. PENDING is not told: it says nothing of the VIM, and passes."""
    for vim in vims:
        listed = listing.watched.get(vim.id)
        if listed is None or vim.origin != VimOrigin.TACKER or vim.status == VimStatus.PENDING:
            continue
        since = vim.status_since.isoformat(timespec="seconds").replace("+00:00", "Z")
        if listed.told != (vim.status, since):
            said = {"status": str(vim.status), "since": since, "reason": vim.reason or ""}
            yield Giving(vim.id, {EXTRA_KEY: said})
