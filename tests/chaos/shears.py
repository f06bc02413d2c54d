"""Where a connection to Redis is cut: in the middle of a command, or once it was carried out, before it is answered.

Redis carries out no command of which a byte is missing. So all places within one command are the same to it; what
differs is which command it is, and what else was sent along with it.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

PATIENCE = 3  # how many gaps to wait for a kind that was hit less often
Where = Literal["command", "answer"]


@dataclass(frozen=True)
class Command:
    """One of those that were sent at a time: what it is called, and its place among the bytes."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Cut:
    """Only so many bytes are passed on; where the answer is to be lost, once Redis has begun to answer them."""

    upto: int
    where: Where


Choose = Callable[[Sequence[Command]], Command | None]


class Shears:
    """`choose` says which command is hit, if any. `cuts` counts them by name."""

    def __init__(self, where: Where, choose: Choose, *, seed: int = 7) -> None:
        self._where: Where = where
        self._choose = choose
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self.cuts: Counter[str] = Counter()

    def cut(self, sent: bytes) -> Cut | None:
        """Where to cut what was just sent; None: let it pass."""
        with self._lock:
            chosen = self._choose(commands(sent))
            if chosen is None:
                return None
            self.cuts[chosen.name] += 1
            if self._where == "answer":
                return Cut(chosen.end, "answer")
            return Cut(self._rng.randrange(chosen.start, chosen.end), "command")


def now_and_then(gap_s: float, *, spared: Mapping[str, float] | None = None) -> Choose:
    """At most one in `gap_s`, or in the time that `spared` says for it, and each kind about as often as any other."""
    cuts: Counter[str] = Counter()
    due: dict[float, float] = {}  # gap → from when on

    def gap(command: Command) -> float:
        return (spared or {}).get(command.name, gap_s)

    def choose(sent: Sequence[Command]) -> Command | None:
        now = time.monotonic()
        cuts.update(dict.fromkeys((command.name for command in sent), 0))
        may = [command for command in sent if due.get(gap(command), 0.0) <= now]
        if not may:
            return None
        chosen = min(may, key=lambda command: cuts[command.name])
        late = now > due.get(gap(chosen), 0.0) + PATIENCE * gap(chosen)
        if cuts[chosen.name] > min(cuts.values()) and not late:
            return None  # one of a rarer kind may come
        cuts[chosen.name] += 1
        due[gap(chosen)] = now + gap(chosen)
        return chosen

    return choose


def the(number: int) -> Choose:
    """The command of that number, counted from 1, and none but that."""
    count = 0

    def choose(sent: Sequence[Command]) -> Command | None:
        nonlocal count
        count, before = count + len(sent), count
        return sent[number - before - 1] if before < number <= count else None

    return choose


def first_of_each(names: set[str]) -> Choose:
    """The first command of each of these names; hits are taken out of `names`."""

    def choose(sent: Sequence[Command]) -> Command | None:
        chosen = next((command for command in sent if command.name in names), None)
        if chosen is not None:
            names.remove(chosen.name)
        return chosen

    return choose


def commands(sent: bytes) -> list[Command]:
    """The whole commands that these bytes are; none where they do not begin with one."""
    found: list[Command] = []
    start = 0
    while sent[start : start + 1] == b"*":
        try:
            count, at = _number(sent, start)
            name = ""
            for number in range(count):
                length, at = _number(sent, at)
                name = name or sent[at : at + length].decode().upper() if number == 0 else name
                at += length + 2
        except ValueError:
            break
        if at > len(sent):
            break
        found.append(Command(name, start, at))
        start = at
    return found


def _number(sent: bytes, at: int) -> tuple[int, int]:
    """What stands between the sign at `at` and the end of its line, and where the next line begins."""
    end = sent.index(b"\r\n", at)
    return int(sent[at + 1 : end]), end + 2
