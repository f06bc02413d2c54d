"""One VIM as its action sees it: what to say, when to say it again, when to leave. No I/O: it is told, and answers.

It says a status when that is not the one last acknowledged, and says it again, as something new, when what others know
of it turns out to be different: the row follows the monitor. It leaves only on proof: a newer lease, or `bad_action`.
"""

from dataclasses import dataclass, field

from vimmon.health import Health, observe
from vimmon.lease.model import CommittedStatus, Lease, Verdict, judge
from vimmon.messages import BAD_ACTION, Answer, UpdateVim
from vimmon.probes import HttpProbe, Outcome, TcpProbe
from vimmon.vim import VimStatus

REASON_MAX = 200


@dataclass(frozen=True)
class Assignment:
    """What Mistral hands to the action: which VIM to watch, as whom, and how to ask it."""

    vim_id: str
    action_id: str
    generation: int
    probe: HttpProbe | TcpProbe


@dataclass(frozen=True)
class Left:
    """The monitor is not wanted any more, and why it knows."""

    why: str


@dataclass
class Monitor:
    """`seq` is the highest that this monitor used, was told, or read; `said` what awaits its acknowledgement."""

    assignment: Assignment
    holder: str
    health: Health = field(default_factory=Health)
    seq: int = 0
    said: UpdateVim | None = None
    acknowledged: CommittedStatus | None = None
    reason_said: str = ""

    def observe(self, outcome: Outcome) -> UpdateVim | None:
        """What the outcome of a probe gives to say, if anything."""
        probe = self.assignment.probe
        self.health = observe(self.health, outcome, rise=probe.rise, fall=probe.fall)
        return self._news()

    def fail(self, error: Exception) -> UpdateVim | None:
        """A bug ended a probe: begin anew, knowing nothing, and say so."""
        self.health = Health(VimStatus.UNKNOWN, f"cannot probe: {type(error).__name__}: {error}")
        return self._news()

    def answered(self, update: UpdateVim, answer: Answer) -> UpdateVim | Left | None:
        """What the conductor's answer to `update` leads to."""
        if answer.status == BAD_ACTION:
            return Left("bad_action")
        sent = update.seq or 0
        told = sent if answer.applied else answer.seq or 0
        self.seq = max(self.seq, told)
        if self.said is None or update.seq != self.said.seq:
            return None  # overtaken by something newer, whose own answer comes
        if answer.status == update.status and told == sent:
            self.said = None
            self.acknowledged = CommittedStatus(self.assignment.generation, sent, update.status, self.holder)
            return self._news()
        return self._say()

    def checked(self, lease: Lease | None, status: CommittedStatus | None) -> UpdateVim | Left | None:
        """What the lease and the committed status, as read from Redis, lead to."""
        mine = self.assignment
        verdict = judge(lease, generation=mine.generation, action_id=mine.action_id)
        if verdict is Verdict.EXIT:
            return Left(f"lease {lease}")
        if status is not None and status.generation == mine.generation:
            self.seq = max(self.seq, status.seq)
        if self.health.status == VimStatus.PENDING:
            return None  # nothing to say yet
        if self.said is not None:
            return None  # under way, and sent again until it is answered
        another_reason = self.health.status != VimStatus.REACHABLE and self._reason() != self.reason_said
        if status != self.acknowledged or another_reason:
            return self._say()
        if verdict is Verdict.ASK and self.acknowledged is not None:
            return self._say(seq=self.acknowledged.seq)
        return None

    def _news(self) -> UpdateVim | None:
        """The status where it is neither acknowledged nor under way."""
        if self.health.status == VimStatus.PENDING:
            return None
        latest = self.said or self.acknowledged
        return None if latest is not None and latest.status == self.health.status else self._say()

    def _say(self, seq: int | None = None) -> UpdateVim:
        if seq is None:
            self.seq += 1
            seq = self.seq
        self.reason_said = self._reason()
        self.said = UpdateVim.model_validate(
            {
                "vim_id": self.assignment.vim_id,
                "status": self.health.status,
                "action_id": self.assignment.action_id,
                "generation": self.assignment.generation,
                "seq": seq,
                "holder": self.holder,
                "reason": self.reason_said,
            }
        )
        return self.said

    def _reason(self) -> str:
        printable = "".join(character if character.isprintable() else " " for character in self.health.reason)
        return printable[:REASON_MAX]
