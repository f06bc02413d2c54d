"""Carries out a plan in the registry. What is odd about one VIM is no reason not to go on with the others."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vimmon.errors import NameTaken, Unreachable, VimExists, VimmonError, VimNotFound
from vimmon.log import event
from vimmon.registry.registry import Registry
from vimmon.tacker.listing import NotWatched
from vimmon.tacker.plan import Naming, TackerPlan, told_apart
from vimmon.vim import Vim, VimOrigin

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """How much was changed, and what could not be, and why."""

    registered: int = 0
    updated: int = 0
    deregistered: int = 0
    failed: tuple[NotWatched, ...] = ()


def carry_out(found: TackerPlan, registry: Registry, *, before_each: Callable[[], bool]) -> Done:
    """`before_each` is called before each change; where it returns False, nothing more is done.

    Raises DatabaseUnreachable.
    """
    counted = {"registered": 0, "updated": 0, "deregistered": 0}
    failed: list[NotWatched] = []
    for what, vim_id, name, do in _changes(found, registry):
        if not before_each():
            break
        try:
            do()
        except (VimNotFound, VimExists):  # somebody was quicker
            continue
        except Unreachable:
            raise
        except VimmonError as trouble:
            log.warning(event("tacker_vim_failed", vim_id=vim_id, vim=name, error=trouble))
            failed.append(NotWatched(vim_id, name, str(trouble)))
            continue
        counted[what] += 1
        log.info(event(f"tacker_vim_{what}", vim_id=vim_id, vim=name))
    return Done(**counted, failed=tuple(failed))


def _changes(found: TackerPlan, registry: Registry) -> Iterator[tuple[str, str, str, Callable[[], object]]]:
    for vim in found.deregister:
        yield "deregistered", vim.id, vim.name, lambda vim=vim: _deregister(vim, registry)  # type: ignore[misc]  # mypy: default
    for naming in found.update:
        yield "updated", naming.listed.vim_id, naming.name, lambda one=naming: _named(one, registry, _update)  # type: ignore[misc]
    for naming in found.register:
        yield "registered", naming.listed.vim_id, naming.name, lambda one=naming: _named(one, registry, _register)  # type: ignore[misc]


def _deregister(vim: Vim, registry: Registry) -> object:
    return registry.deregister(_ours(vim.id, registry))


def _ours(vim_id: str, registry: Registry) -> str:
    """Raises VimNotFound where the id is by now that of a VIM registered by hand: the plan may be minutes old."""
    if registry.get(vim_id).origin != VimOrigin.TACKER:
        raise VimNotFound(vim_id)
    return vim_id


def _named(naming: Naming, registry: Registry, enter: Callable[[Naming, str, Registry], object]) -> None:
    """Under the name that was meant for it; where somebody has that by now, under one that tells it apart."""
    for name in dict.fromkeys([naming.name, *told_apart(naming.listed)]):
        with contextlib.suppress(NameTaken):
            enter(naming, name, registry)
            return
    raise NameTaken(naming.name)


def _update(naming: Naming, name: str, registry: Registry) -> object:
    return registry.update(_ours(naming.listed.vim_id, registry), name=name, auth_url=naming.listed.auth_url)


def _register(naming: Naming, name: str, registry: Registry) -> object:
    listed = naming.listed
    return registry.register(name, listed.auth_url, type=listed.type, vim_id=listed.vim_id, origin=VimOrigin.TACKER)
