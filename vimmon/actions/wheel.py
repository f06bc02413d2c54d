"""When each key is due: a timing wheel, O(1) per operation, that never fires early, never drifts and never catches up.

A key's rounds lie on a grid whose phase comes from a hash of the key, so that many keys spread evenly over their
interval whenever they were added. Each round is moved by a little random jitter; what one round was moved by does not
move the next. After a pause each key fires once.
"""

import hashlib
import math
import random
from dataclasses import dataclass


@dataclass(slots=True)
class _Entry:
    interval_s: float
    phase: float  # where in the interval the grid lies, 0 to 1
    base_s: float  # the round's time without jitter
    due_s: float
    tick: int  # the slot, counted from the clock's zero
    lag_s: float = 0.0


class Wheel:
    """Which keys are due. Times are seconds of one monotonic clock, given as `now`.

    A firing comes up to one slot after its time, or as late as `due` is asked.
    """

    def __init__(
        self, *, rng: random.Random, slot_s: float = 0.05, slots: int = 1024, jitter: float = 0.05, soon_s: float = 1.0
    ) -> None:
        """`jitter` is a share of the interval, in both directions; `soon_s` is what `soon=True` is spread over."""
        self._rng = rng
        self._slot_s = slot_s
        self._jitter = jitter
        self._soon_s = soon_s
        self._slots: list[dict[str, _Entry]] = [{} for _ in range(slots)]
        self._entries: dict[str, _Entry] = {}
        self._done: int | None = None  # the newest tick whose slot was emptied

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def add(self, key: str, interval_s: float, now: float, *, soon: bool = False, whole: bool = False) -> None:
        """Fire `key` every `interval_s`, first within one interval from now; `soon`: first within `soon_s`, or one
        interval if that is shorter, and from then on the key's own grid; `whole`: first one whole interval from now.
        A key that is there already begins anew."""
        self.remove(key)
        entry = _Entry(interval_s, _phase(key), 0.0, 0.0, 0)
        if soon:
            due_s = now + self._rng.random() * min(self._soon_s, interval_s)
            entry.base_s = self._on_grid(entry, due_s + interval_s / 2) - interval_s
            self._place(key, entry, due_s, now)
        else:
            entry.base_s = now + interval_s if whole else self._on_grid(entry, now)
            self._place(key, entry, self._moved(entry), now)
        self._entries[key] = entry

    def reschedule(self, key: str, interval_s: float, now: float) -> None:
        """Fire `key` one `interval_s` from now, and every `interval_s` after that. A key that is gone stays gone.

        The later rounds return to the key's grid step by step, by at most the jitter's width each: what was
        rescheduled together does not stay together.
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        self._slot(entry.tick).pop(key, None)
        entry.interval_s = interval_s
        entry.base_s = now + interval_s
        self._place(key, entry, self._moved(entry), now)

    def remove(self, key: str) -> None:
        """Never fire `key` again. A key that is not there is left so."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._slot(entry.tick).pop(key, None)

    def due(self, now: float) -> list[str]:
        """The keys whose time has come, each once, however much time has passed; each is scheduled again."""
        tick = math.floor(now / self._slot_s)
        first = tick if self._done is None else self._done + 1
        fired: list[tuple[str, _Entry]] = []
        for at in range(max(first, tick - len(self._slots) + 1), tick + 1):
            slot = self._slot(at)
            ready = [each for each in slot.items() if each[1].tick <= tick]
            if len(ready) == len(slot):
                slot.clear()
            else:
                for key, _ in ready:
                    del slot[key]
            fired += ready
        self._done = max(tick, first - 1)
        for key, entry in fired:
            entry.lag_s = now - entry.due_s
            entry.base_s = self._next_base(entry, now)
            self._place(key, entry, self._moved(entry), now)
        return [key for key, _ in fired]

    def interval_s(self, key: str) -> float | None:
        """What `key` was last given; None for a key that is not there."""
        entry = self._entries.get(key)
        return entry.interval_s if entry else None

    def lag_s(self, key: str) -> float:
        """How late the last firing of `key` was; 0 before the first, and for a key that is not there."""
        entry = self._entries.get(key)
        return entry.lag_s if entry else 0.0

    def wait_s(self, now: float) -> float:
        """How long to sleep until the next slot begins."""
        return max(0.0, (math.floor(now / self._slot_s) + 1) * self._slot_s - now)

    def _slot(self, tick: int) -> dict[str, _Entry]:
        return self._slots[tick % len(self._slots)]

    def _place(self, key: str, entry: _Entry, due_s: float, now: float) -> None:
        if self._done is None:
            self._done = math.floor(now / self._slot_s)
        entry.due_s = max(due_s, now)
        entry.tick = max(math.ceil(entry.due_s / self._slot_s), self._done + 1)
        self._slot(entry.tick)[key] = entry

    def _moved(self, entry: _Entry) -> float:
        return entry.base_s + self._jitter * entry.interval_s * (2 * self._rng.random() - 1)

    def _next_base(self, entry: _Entry, now: float) -> float:
        base_s = entry.base_s + entry.interval_s
        if base_s <= now:  # at least one round was missed: skip it, and leave room after this late firing
            return self._on_grid(entry, now + entry.interval_s / 2)
        limit = self._jitter * entry.interval_s
        off = (base_s - entry.phase * entry.interval_s + entry.interval_s / 2) % entry.interval_s - entry.interval_s / 2
        return base_s - max(-limit, min(limit, off))

    @staticmethod
    def _on_grid(entry: _Entry, after_s: float) -> float:
        """The first time on the key's grid that is not before `after_s`."""
        return (math.ceil(after_s / entry.interval_s - entry.phase) + entry.phase) * entry.interval_s


def _phase(key: str) -> float:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
