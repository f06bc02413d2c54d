"""One VIM as its action sees it: what to say, when to say it again, when to leave. No I/O: it is told, and answers.

It says a status when that is not the one last acknowledged, and says it again, as something new, when what others know
of it turns out to be different: the row follows the monitor. It leaves only on proof: a newer lease, or `bad_action`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from vimmon.actions.suspicion import Doubt
from vimmon.errors import InvalidInput
from vimmon.health import Health, observe, reached
from vimmon.lease.model import LEAP_MAX, CommittedStatus, Lease, Verdict, judge, lease_text, parse_lease, parse_status
from vimmon.messages import BAD_ACTION, Answer, UpdateVim, update_of
from vimmon.probes import Outcome, Probe, parse_probe
from vimmon.vim import VimStatus

REASON_MAX = 200
PATIENCE = 3  # checks without proof that it is wanted, before a monitor that has nothing to say asks all the same
NOTHING_FOUND = Health(VimStatus.UNKNOWN, "cannot probe: no probe has come to an end")


@dataclass(frozen=True)
class Assignment:
    """What Mistral hands to the action: which VIM to watch, as whom, and how to ask it."""

    vim_id: str
    action_id: str
    generation: int
    probe: Probe


def parse_assignment(vim_id: object, action_id: object, generation: object, probe: object) -> Assignment:
    """An assignment that a conductor can be told of. Raises InvalidInput that names the input."""
    said = {"vim_id": vim_id, "action_id": action_id, "generation": generation, "status": VimStatus.UNKNOWN}
    remedy = "Leave it to vimmon to start its actions: vimmon vim register"
    try:
        checked = update_of(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(str(first["loc"][0]), first["msg"], remedy=remedy) from None
    if checked.generation is None:
        raise InvalidInput("generation", "it is missing", remedy=remedy)
    if not isinstance(probe, Mapping):
        raise InvalidInput("probe", "it is not an object", remedy=remedy)
    return Assignment(checked.vim_id, checked.action_id, checked.generation, parse_probe(probe))


@dataclass(frozen=True)
class Left:
    """The monitor is not wanted any more, and why it knows."""

    why: str


@dataclass(slots=True)
class Monitor:
    """`seq` is the highest that this monitor used, was told, or read; `said` what awaits its acknowledgement.

    `acknowledged` is what is known to stand in the row, None where that is not known; `failed`: a bug ended the last
    probe; `doubt`: its prober is itself suspected; `checks_in_vain`: the last checks in a row that left open whether it
    is wanted, while it had nothing to say, and so nothing to ask with.
    """

    assignment: Assignment
    holder: str
    health: Health = field(default_factory=Health)
    seq: int = 0
    said: UpdateVim | None = None
    acknowledged: CommittedStatus | None = None
    reason_said: str = ""
    failed: bool = False
    doubt: Doubt | None = None
    checks_in_vain: int = 0

    @property
    def settled(self) -> bool:
        """Whether one more success would give nothing to say, and change nothing but the reason."""
        latest, health = self.said or self.acknowledged, self.health
        reached = health.status == VimStatus.REACHABLE and not health.streak
        return reached and latest is not None and latest.status == VimStatus.REACHABLE

    def observe(self, outcome: Outcome) -> UpdateVim | None:
        """What the outcome of a probe gives to say, if anything."""
        self.failed = False
        probe = self.assignment.probe
        self.health = observe(self.health, outcome, rise=probe.rise, fall=probe.fall)
        return self._news()

    def observe_again(self, reason: str) -> None:
        """One more success while it is `settled`."""
        self.health = reached(reason)

    def fail(self, error: Exception) -> UpdateVim | None:
        """A bug ended a probe: begin anew, knowing nothing, and say so."""
        self.failed = True
        self.health = Health(VimStatus.UNKNOWN, f"cannot probe: {type(error).__name__}: {error}"[:REASON_MAX])
        return self._news()

    def doubted(self, doubt: Doubt | None) -> UpdateVim | None:
        """What there is to say now that the prober is suspected, or is not any more.

        What it found meanwhile never counted: when it is cleared, failures are counted from the beginning. Else the
        first VIM that is reached again would have all others called UNREACHABLE.
        """
        if doubt is None and self._held_back():
            latest = self.said or self.acknowledged
            self.health = Health(VimStatus(latest.status), self.reason_said) if latest else Health()
        self.doubt = doubt
        return self._news()

    def answered(self, update: UpdateVim, answer: Answer) -> UpdateVim | Left | None:
        """What the conductor's answer to `update` leads to."""
        if answer.status == BAD_ACTION:
            return Left("bad_action")
        sent = update.seq or 0
        known = sent if answer.applied else answer.seq or 0
        news = not answer.applied and sent <= known <= sent + LEAP_MAX
        self._learn(known)
        if self.said is None or update.seq != self.said.seq:
            return None  # overtaken by something newer, whose own answer comes
        self.said = None
        if answer.status == update.status and known == sent:
            self.acknowledged = CommittedStatus(self.assignment.generation, sent, update.status, self.holder)
            return self._news()
        self.acknowledged = None
        return self._say_anew() if news else None  # an answer that tells nothing new: not again before the next probe

    def knows(self, lease: bytes | None, status: bytes | None) -> bool:
        """Told the values of its lease key and its status key: whether nothing follows from them, now and as long as
        it has nothing to say and is `settled`. So it is almost always: they say what was acknowledged, and the VIM is
        REACHABLE still. False: `read` them."""
        mine, acknowledged = self.assignment, self.acknowledged
        if acknowledged is None or self.said is not None or not self.settled:
            return False
        if lease != lease_text(mine.generation, mine.action_id).encode() or status != str(acknowledged).encode():
            return False
        self.checks_in_vain = 0
        return True

    def read(self, lease: bytes | None, status: bytes | None) -> UpdateVim | Left | None:
        """What these values lead to, whatever stands in them."""
        return self.checked(parse_lease(_decoded(lease)), parse_status(_decoded(status)))

    def checked(self, lease: Lease | None, status: CommittedStatus | None) -> UpdateVim | Left | None:
        """What the lease and the committed status, as read from Redis, lead to."""
        mine = self.assignment
        verdict = judge(lease, generation=mine.generation, action_id=mine.action_id)
        if verdict is Verdict.EXIT:
            return Left(f"lease {lease}")
        if status is not None and status.generation == mine.generation:
            self._learn(status.seq)
        if self.said is not None:
            return None  # under way, and sent again until it is answered
        stated = self._stated()
        self.checks_in_vain = self.checks_in_vain + 1 if stated is None and verdict is Verdict.ASK else 0
        if stated is None:
            return self._say(NOTHING_FOUND) if self.checks_in_vain >= PATIENCE else None
        another_reason = stated.status != VimStatus.REACHABLE and _spoken(stated.reason) != self.reason_said
        if self.acknowledged is None or status != self.acknowledged or another_reason:
            return self._say(stated)
        return self._say(stated, seq=self.acknowledged.seq) if verdict is Verdict.ASK else None

    def _learn(self, seq: int) -> None:
        if seq <= self.seq + LEAP_MAX:  # else it is a lie
            self.seq = max(self.seq, seq)

    def _news(self) -> UpdateVim | None:
        """The status where it is neither acknowledged nor under way."""
        stated, latest = self._stated(), self.said or self.acknowledged
        if stated is None or (latest is not None and latest.status == stated.status):
            return None
        return self._say(stated)

    def _stated(self) -> Health | None:
        """What it stands for. None: nothing yet, or nothing but what a suspected prober found."""
        if self.health.status == VimStatus.PENDING:
            return None
        if self.doubt is None or not self._held_back():
            return self.health
        return Health(VimStatus.UNKNOWN, self.doubt.reason) if self.doubt.lasting else None

    def _held_back(self) -> bool:
        """Whether a suspected prober found this VIM UNREACHABLE, and that was not said before."""
        latest = self.said or self.acknowledged
        said_before = latest is not None and latest.status == VimStatus.UNREACHABLE
        return self.doubt is not None and self.health.status == VimStatus.UNREACHABLE and not said_before

    def _say_anew(self) -> UpdateVim | None:
        stated = self._stated()
        return None if stated is None else self._say(stated)

    def _say(self, stated: Health, seq: int | None = None) -> UpdateVim:
        if seq is None:
            self.seq += 1
            seq = self.seq
        self.reason_said = _spoken(stated.reason)
        self.said = update_of(
            {
                "vim_id": self.assignment.vim_id,
                "status": stated.status,
                "action_id": self.assignment.action_id,
                "generation": self.assignment.generation,
                "seq": seq,
                "holder": self.holder,
                "reason": self.reason_said,
            }
        )
        return self.said


def _decoded(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _spoken(reason: str) -> str:
    return "".join(character if character.isprintable() else " " for character in reason)[:REASON_MAX]
