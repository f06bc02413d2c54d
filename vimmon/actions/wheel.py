"""When each key is due: a timing wheel, O(1) per operation, that never fires early, never drifts and never catches up.

A key's rounds lie on a grid whose phase comes from a hash of the key, so that many keys spread evenly over their
interval whenever they were added. Each round is moved by a little random jitter; what one round was moved by does not
move the next. After a pause each key fires once.
"""

import hashlib
import math
import random
from dataclasses import dataclass

NOWHERE = -1
SOON_GAP_S = 0.001  # over so much more each that is to fire soon spreads those that come with it


@dataclass(slots=True, eq=False)
class Entry:
    """A key in a wheel. Whoever wants more of a key than its name at each firing makes a class of this, with all that
    has to be at hand then: an object less to find, of thousands of which none is in the processor's cache.

    `strays`: its rounds do not lie on its grid, as after it was rescheduled."""

    key: str
    interval_s: float
    base_s: float = 0.0  # the round's time without jitter
    due_s: float = 0.0
    tick: int = NOWHERE  # the slot, counted from the clock's zero
    strays: bool = True
    where: float | None = None

    @property
    def phase(self) -> float:
        """Where in the interval the grid lies, 0 to 1; found only when it is asked for."""
        if self.where is None:
            self.where = _phase(self.key)
        return self.where


class Wheel:
    """Which keys are due. Times are seconds of one monotonic clock, given as `now`.

    A firing comes up to one slot after its time, or as late as `due` is asked.
    """

    def __init__(
        self, *, rng: random.Random, slot_s: float = 0.05, slots: int = 1024, jitter: float = 0.05, soon_s: float = 1.0
    ) -> None:
        """`jitter` is a share of the interval, in both directions; `soon_s` is what `soon=True` is spread over when
        thousands come at once."""
        self._rng = rng
        self._slot_s = slot_s
        self._jitter = jitter
        self._soon_s = soon_s
        self._crowded_until = -math.inf  # by those that were to fire soon
        # What an entry's `tick` does not lead to is left over, from before it was removed or placed anew.
        self._slots: list[list[Entry]] = [[] for _ in range(slots)]
        self._entries: dict[str, Entry] = {}
        self._done: int | None = None  # the newest tick whose slot was emptied

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def add(self, key: str, interval_s: float, now: float, *, soon: bool = False) -> None:
        """Fire `key` every `interval_s`, first within one interval from now; `soon`: first at once, or, of thousands,
        within `soon_s`, or one interval if that is shorter, and from then on the key's own grid. A key that is there
        already begins anew."""
        self.put(Entry(key, interval_s), now, soon=soon)

    def put(self, entry: Entry, now: float, *, soon: bool = False) -> None:
        """The same with an entry that was never in a wheel: `fire` gives it back."""
        key, interval_s = entry.key, entry.interval_s
        self.remove(key)
        self._entries[key] = entry
        if soon:
            self._crowded_until = min(max(self._crowded_until, now) + SOON_GAP_S, now + self._soon_s)
            due_s = now + self._rng.random() * min(self._crowded_until - now, interval_s)
            entry.base_s = self._on_grid(entry, due_s + interval_s / 2) - interval_s
            self._place(entry, due_s, now)
        else:
            entry.base_s = self._on_grid(entry, now)
            self._place(entry, self._moved(entry), now)

    def reschedule(self, key: str, interval_s: float, now: float) -> None:
        """Fire `key` one `interval_s` from now, and every `interval_s` after that. A key that is gone stays gone.

        The later rounds return to the key's grid step by step, by at most the jitter's width each: what was
        rescheduled together does not stay together.
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.interval_s = interval_s
        entry.base_s = now + interval_s
        entry.strays = True
        self._place(entry, self._moved(entry), now)

    def remove(self, key: str) -> None:
        """Never fire `key` again. A key that is not there is left so."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.tick = NOWHERE

    def due(self, now: float) -> dict[str, float]:
        """The keys whose time has come, and how late each is, in s. Each fires once, however much time has passed, and
        is scheduled again."""
        fired, late_s = self.fire(now)
        return {entry.key: each_s for entry, each_s in zip(fired, late_s, strict=True)}

    def fire(self, now: float) -> tuple[list[Entry], list[float]]:
        """The same: the entries, and how late each is."""
        slot_s, slots, many = self._slot_s, self._slots, len(self._slots)
        tick = math.floor(now / slot_s)
        first = tick if self._done is None else self._done + 1
        self._done = done = max(tick, first - 1)
        fired: list[Entry] = []
        late_s: list[float] = []
        random, width, ceil = self._rng.random, 2 * self._jitter, math.ceil
        for at in range(max(first, tick - many + 1), tick + 1):
            slot = slots[at % many]
            if not slot:
                continue
            slots[at % many] = later = []
            for entry in slot:
                if entry.tick > tick:
                    if entry.tick % many == at % many:
                        later.append(entry)
                    continue
                if entry.tick == NOWHERE:
                    continue
                fired.append(entry)
                late_s.append(now - entry.due_s)
                interval_s = entry.interval_s
                base_s = entry.base_s + interval_s
                if base_s <= now or entry.strays:
                    base_s = self._next_base(entry, now)
                entry.base_s = base_s
                # As `_place`, which would cost as much again.
                entry.due_s = due_s = base_s + width * interval_s * (random() - 0.5)
                entry.tick = due = ceil(due_s / slot_s)
                if due <= done:
                    entry.due_s, entry.tick = max(now, due_s), (due := done + 1)
                slots[due % many].append(entry)
        return fired, late_s

    def interval_s(self, key: str) -> float | None:
        """What `key` was last given; None for a key that is not there."""
        entry = self._entries.get(key)
        return entry.interval_s if entry else None

    def wait_s(self, now: float) -> float:
        """How long to sleep until the next slot begins."""
        return max(0.0, (math.floor(now / self._slot_s) + 1) * self._slot_s - now)

    def _place(self, entry: Entry, due_s: float, now: float) -> None:
        if self._done is None:
            self._done = math.floor(now / self._slot_s)
        if due_s < now:
            due_s = now
        tick = math.ceil(due_s / self._slot_s)
        if tick <= self._done:
            tick = self._done + 1
        entry.due_s, entry.tick = due_s, tick
        self._slots[tick % len(self._slots)].append(entry)

    def _moved(self, entry: Entry) -> float:
        return entry.base_s + self._jitter * entry.interval_s * (2 * self._rng.random() - 1)

    def _next_base(self, entry: Entry, now: float) -> float:
        base_s = entry.base_s + entry.interval_s
        if base_s <= now:  # at least one round was missed: skip it, and leave room after this late firing
            return self._on_grid(entry, now + entry.interval_s / 2)
        limit = self._jitter * entry.interval_s
        off = (base_s - entry.phase * entry.interval_s + entry.interval_s / 2) % entry.interval_s - entry.interval_s / 2
        entry.strays = abs(off) > limit
        return base_s - max(-limit, min(limit, off))

    @staticmethod
    def _on_grid(entry: Entry, after_s: float) -> float:
        """The first time on the key's grid that is not before `after_s`."""
        return (math.ceil(after_s / entry.interval_s - entry.phase) + entry.phase) * entry.interval_s


def _phase(key: str) -> float:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
