"""Counts what an executor's operators want to know: probes, how long they took, how late they began, and of single
VIMs only what somebody is woken for: a certificate that expires, a status that comes and goes."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

from vimmon.actions.probing import Prober
from vimmon.flapping import Stated, flaps, state
from vimmon.messages import UpdateVim
from vimmon.metrics import ANSWER_S, LAG_S, ExecutorMetrics, Histogram
from vimmon.probes import Outcome
from vimmon.vim import VimStatus

NOTHING_STATED = Stated()
REACHED = VimStatus.REACHABLE


class Metrics:
    """Told of everything as it happens, or a little later. Of one probe that costs less than a microsecond."""

    def __init__(self, prober: Prober, clock: Callable[[], float]) -> None:
        self._prober = prober
        self._clock = clock
        self._probes: defaultdict[tuple[str, VimStatus], int] = defaultdict(int)
        self._again: defaultdict[str, int] = defaultdict(int)  # of those, REACHABLE as before; not counted there yet
        self._answers: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(ANSWER_S))
        self._late = Histogram(LAG_S)
        self._certificates: dict[str, datetime] = {}
        self._stated: dict[str, Stated] = {}

    def began(self, late_s: Sequence[float]) -> None:
        """Probes began so much later than their time."""
        self._late.add_all(late_s)

    def saw(self, vim_id: str, kind: str, outcome: Outcome) -> None:
        """A probe ended. Of a certificate that was not seen this time, the last one counts."""
        self._probes[kind, outcome.status] += 1
        if outcome.rtt_ms is not None:
            self._answers[kind].add(outcome.rtt_ms / 1000)
        if outcome.certificate_expires_at is not None:
            self._certificates[vim_id] = outcome.certificate_expires_at

    def saw_again(self, kind: str, took_s: Sequence[float]) -> None:
        """Probes ended that found what those before found, and took so long."""
        self._again[kind] += len(took_s)  # the hash of a status is found in Python: too dear for every probe
        self._answers[kind].add_all(took_s)

    def said(self, update: UpdateVim) -> None:
        """A monitor has something to say, maybe once more."""
        before = self._stated.get(update.vim_id, NOTHING_STATED)
        self._stated[update.vim_id] = state(before, VimStatus(update.status), self._clock())

    def forget(self, vim_id: str) -> None:
        """The VIM is not watched here any more."""
        self._certificates.pop(vim_id, None)
        self._stated.pop(vim_id, None)

    def fields(self, oldest_check_s: float | None) -> dict[str, bytes]:
        """All of it, as Redis is told."""
        now = self._clock()
        for kind, count in self._again.items():
            self._probes[kind, REACHED] += count
        self._again.clear()
        probes: defaultdict[str, dict[VimStatus, int]] = defaultdict(dict)
        for (kind, status), count in self._probes.items():
            probes[kind][status] = count
        return ExecutorMetrics(
            running=self._prober.running,
            waiting=self._prober.waiting,
            oldest_check_s=oldest_check_s,
            probes=probes,
            answers={kind: answers.spread() for kind, answers in self._answers.items()},
            lag={"schedule": self._late.spread(), "turn": self._prober.waits.spread()},
            certificates={vim_id: round(expires.timestamp()) for vim_id, expires in self._certificates.items()},
            flapping=tuple(vim_id for vim_id, stated in self._stated.items() if flaps(stated, now)),
        ).fields()
