"""When a VIM that comes and goes is said to flap: its status changed so often within an hour. No clock: it is told."""

from dataclasses import dataclass

from vimmon.vim import VimStatus

CHANGES = 6  # three times gone and back
WITHIN_S = 3600.0


@dataclass(frozen=True, slots=True)
class Stated:
    """The status that stands, None before the first, and when it last changed; no more changes than are asked for."""

    status: VimStatus | None = None
    changed_at: tuple[float, ...] = ()


def state(stated: Stated, status: VimStatus, now: float, *, changes: int = CHANGES) -> Stated:
    """That this status is stated now. The first one is no change, and neither is the same again."""
    if status == stated.status:
        return stated
    if stated.status is None:
        return Stated(status)
    return Stated(status, (*stated.changed_at, now)[-changes:])


def flaps(stated: Stated, now: float, *, changes: int = CHANGES, within_s: float = WITHIN_S) -> bool:
    """Whether it changed at least `changes` times within the last `within_s` seconds."""
    return len(stated.changed_at) >= changes and now - stated.changed_at[-changes] < within_s
