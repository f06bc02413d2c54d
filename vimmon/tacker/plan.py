"""Decides what follows from Tacker's list: which VIMs to register, change and de-register. No I/O.

Tacker's list decides over the VIMs that came from it (`VimOrigin.TACKER`), and over no others. Where it suddenly lacks
more than half of them, it is not believed at once: an empty database or another region would look the same.
Until the list has said so three times, or the operator has, nothing at all follows from it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vimmon.tacker.listing import Listed, Listing, NotWatched
from vimmon.vim import NAME_MAX, Vim, VimOrigin

FEW = 4  # of so many VIMs, or more, a large loss is doubted
TIMES = 3  # said so often, it is believed
BY_HAND = "a VIM with this id was registered by hand, and is left alone"
NO_NAME = "every name for it is another VIM's"


@dataclass(frozen=True)
class Doubt:
    """A list that is not believed. `missing`: the VIMs that it has lacked each time, of `out_of` that were there;
    `since_ms`: when it first did, in ms of Redis's clock."""

    times: int
    missing: frozenset[str]
    out_of: int
    since_ms: int


@dataclass(frozen=True)
class Naming:
    """A VIM as Tacker has it, and the name that it gets here. `vim`: as it was; None for a new one."""

    listed: Listed
    name: str
    vim: Vim | None = None


@dataclass(frozen=True)
class TackerPlan:
    """In the order in which it is to be carried out. `doubt`: the list is not believed, and there is nothing to do."""

    deregister: tuple[Vim, ...] = ()
    update: tuple[Naming, ...] = ()
    register: tuple[Naming, ...] = ()
    not_watched: tuple[NotWatched, ...] = ()
    doubt: Doubt | None = None


def plan(
    listing: Listing, vims: Sequence[Vim], doubt: Doubt | None, *, now_ms: int, believe: bool = False
) -> TackerPlan:
    """`vims`: all that are registered; `doubt`: what was thought of the list before; `believe`: the operator does."""
    ours = {vim.id: vim for vim in vims if vim.origin == VimOrigin.TACKER}
    by_hand = {vim.id: vim for vim in vims if vim.origin != VimOrigin.TACKER}
    strangers = tuple(NotWatched(one, by_hand[one].name, BY_HAND) for one in listing.watched if one in by_hand)
    not_watched = listing.not_watched + strangers
    missing = frozenset(ours) - listing.mentioned
    if not believe and is_large(len(missing), len(ours)):
        doubt = still_doubted(doubt, missing, len(ours), now_ms)
        if doubt.times < TIMES:
            return TackerPlan(not_watched=not_watched, doubt=doubt)
        missing = doubt.missing
    other_type = {one for one, listed in listing.watched.items() if one in ours and ours[one].type != listed.type}
    gone = [ours[one] for one in sorted(missing | other_type)]
    staying = {one: vim for one, vim in ours.items() if one not in missing | other_type}
    followed = [listed for one, listed in sorted(listing.watched.items()) if one not in by_hand]
    names = name_all(followed, staying, [vim.name for vim in by_hand.values()])
    nameless = tuple(NotWatched(one.vim_id, one.name, NO_NAME) for one in followed if one.vim_id not in names)
    named = [listed for listed in followed if listed.vim_id in names]
    namings = [Naming(listed, names[listed.vim_id], staying.get(listed.vim_id)) for listed in named]
    return TackerPlan(
        deregister=tuple(gone),
        update=tuple(one for one in namings if one.vim is not None and _differs(one, one.vim)),
        register=tuple(one for one in namings if one.vim is None),
        not_watched=not_watched + nameless,
    )


def is_large(missing: int, out_of: int) -> bool:
    """Whether so many are missing that the list must say it again."""
    return out_of >= FEW and 2 * missing > out_of


def still_doubted(before: Doubt | None, missing: frozenset[str], out_of: int, now_ms: int) -> Doubt:
    """Only what was missing each time counts as said again."""
    each_time = missing & before.missing if before else frozenset[str]()
    if before is None or not each_time:
        return Doubt(1, missing, out_of, now_ms)
    return Doubt(before.times + 1, each_time, out_of, before.since_ms)


def name_all(followed: Iterable[Listed], staying: Mapping[str, Vim], by_hand: Iterable[str]) -> dict[str, str]:
    """Tacker's own name for each, where nobody else has it; the first to have it keeps it, by hand or not. Who finds
    every name taken gets none.

    `staying`: the VIMs of Tacker's that are registered and stay so.
    """
    names: dict[str, str] = {}
    followed = sorted(followed, key=lambda listed: (listed.vim_id not in staying, listed.vim_id))
    unread = set(staying) - {listed.vim_id for listed in followed}  # listed, but not to be understood: as it was
    taken = {*by_hand, *(staying[one].name for one in unread)}
    before = -1
    while len(names) > before:  # what one keeps may be what another one's own name is
        before = len(names)
        for listed in followed:
            if listed.vim_id not in names and (name := _kept(listed, staying.get(listed.vim_id), taken)):
                names[listed.vim_id] = name
                taken.add(name)
    for listed in followed:
        if listed.vim_id in names:
            continue
        free = [name for name in (listed.name, *told_apart(listed)) if name not in taken]
        if free:
            names[listed.vim_id] = free[0]
            taken.add(free[0])
    return names


def _kept(listed: Listed, vim: Vim | None, taken: set[str]) -> str | None:
    """The name that it has, where that is its own, or tells it apart from somebody who has its own."""
    if vim is None or vim.name in taken:
        return None
    keeps = vim.name == listed.name or (listed.name in taken and vim.name in told_apart(listed))
    return vim.name if keeps else None


def told_apart(listed: Listed) -> list[str]:
    """Names for a VIM whose own is another's: with the beginning of its project's id, or of its own, or all of that."""
    marks = [listed.tenant_id[:8], listed.vim_id[:8], listed.vim_id]
    return [f"{listed.name[: NAME_MAX - 1 - len(mark)]}@{mark}" for mark in marks if mark]


def _differs(naming: Naming, vim: Vim) -> bool:
    return (naming.name, naming.listed.auth_url) != (vim.name, vim.auth_url)
