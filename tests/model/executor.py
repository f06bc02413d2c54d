"""An executor process: its host with real monitors, its calling side, its presence. All tasks stop and end together.

Mirrors `actions/host.py`, `client.py`, `checks.py` and `presence.py`. The worlds have fewer VIMs than it takes to
suspect the prober itself.
"""

from dataclasses import dataclass

from tests.model.clockwork import NEVER, Block, Process, Steps
from tests.model.parts import KEYS, Parts, read_cache
from tests.model.presence import Presence
from tests.model.redis import Redis
from vimmon.actions.client import FIRST_RETRY_S, LAST_RETRY_S
from vimmon.actions.host import ALONE_AFTER_S
from vimmon.actions.monitor import Assignment, Left, Monitor
from vimmon.lease.model import Lease
from vimmon.messages import Answer, CallFailed, UpdateVim, call, read_reply
from vimmon.probes import Outcome, TcpProbe
from vimmon.vim import VimStatus

PROBE = TcpProbe(auth_url="http://vim.example:5000", interval_s=20, confirm_interval_s=2)
SOON_S = 0.5
ALONE_EVERY = 10  # host.ALONE_SHARE


def assignment(vim_id: str, lease: Lease) -> Assignment:
    """What Mistral hands to the action of a lease."""
    return Assignment(vim_id, str(lease.action_id), lease.generation, PROBE)


@dataclass
class _Pending:
    update: UpdateVim
    request_id: str
    due: float
    wait_s: float = FIRST_RETRY_S


class Executor(Process):
    """`inbox`: actions that Mistral has sent here and that have not begun yet. `hung`: monitors whose probe does not
    end."""

    def __init__(self, parts: Parts, monitor: type[Monitor] = Monitor) -> None:
        super().__init__(parts.new("executor-"))
        self.parts = parts
        self.redis = parts.link(self)
        self.inbox: list[Assignment] = []
        self.monitors: dict[str, Monitor] = {}
        self.held: dict[str, Lease] = {}
        self.hung: set[str] = set()  # action ids
        self.pending: dict[str, _Pending] = {}
        self._monitor = monitor
        self._reply_to = KEYS.replies(f"{self.name}:1")
        self._probe_at: dict[str, float] = {}
        self._check_at: dict[str, float] = {}
        self._checks_due: set[str] = set()
        self._rounds = 0
        self.presence = Presence(parts, self.name, self.redis, self.held)
        add = parts.clockwork.add
        add(self, "takes on", self._take_on)
        add(self, "probes", self._probe)
        add(self, "checks", self._check_leases)
        add(self, "sends", self._send)
        add(self, "receives", self._receive)
        add(self, "beats", self.presence.step)

    # Host

    def _take_on(self) -> Steps:
        yield Block(lambda: 0.0 if self.inbox else NEVER)
        while self.inbox:
            self.take_on(self.inbox.pop(0))
        return 0.0

    def take_on(self, wanted: Assignment) -> bool:
        """Host.take_on"""
        mine = self.monitors.get(wanted.vim_id)
        if mine is not None:
            if mine.assignment.generation >= wanted.generation:
                return False
            self._let_go(mine, "a newer action came")
        vim_id = wanted.vim_id
        self.monitors[vim_id] = self._monitor(wanted, f"{self.name}:{self.parts.new('m')}")
        self.held[vim_id] = Lease(wanted.generation, wanted.action_id)
        self._probe_at[vim_id] = self.parts.now() + SOON_S
        self._check_at[vim_id] = self.parts.now() + self.parts.settings.check_interval_s
        self.presence.touch(vim_id)
        return True

    def _let_go(self, monitor: Monitor, why: str) -> None:
        """Host._let_go"""
        vim_id = monitor.assignment.vim_id
        if self.monitors.get(vim_id) is not monitor:
            return
        del self.monitors[vim_id], self.held[vim_id], self._probe_at[vim_id], self._check_at[vim_id]
        self.pending.pop(vim_id, None)
        self.presence.touch(vim_id)
        self.parts.note(f"{self.name}: {monitor.assignment.action_id} leaves: {why}")

    def _probe(self) -> Steps:
        """Host._start_probes, Host._probed: that takes no time here."""
        yield Block(lambda: min(self._probe_at.values(), default=NEVER))
        now = self.parts.now()
        alone = self.presence.silent_s > ALONE_AFTER_S
        for vim_id, at in list(self._probe_at.items()):
            if at > now:
                continue
            self._probe_at[vim_id] = now + PROBE.interval_s
            self._rounds += 1
            monitor = self.monitors[vim_id]
            if monitor.assignment.action_id in self.hung:
                continue
            if alone and self._rounds % ALONE_EVERY:
                self.presence.saw(vim_id)
                continue
            found = self.parts.truth.get(vim_id, VimStatus.UNREACHABLE)
            self._act(monitor, monitor.observe(Outcome(status=found, reason=f"it is {found}")))
            if self.monitors.get(vim_id) is monitor:
                self.presence.saw(vim_id)
                if monitor.health.confirming:
                    self._probe_at[vim_id] = now + PROBE.confirm_interval_s
        return 0.0

    def _check_leases(self) -> Steps:
        """Host._check_leases, Checks.due"""
        yield Block(lambda: 0.0 if self._checks_due else min(self._check_at.values(), default=NEVER))
        now = self.parts.now()
        due = [vim_id for vim_id, at in self._check_at.items() if at <= now]
        self._check_at |= dict.fromkeys(due, now + self.parts.settings.check_interval_s)
        self._checks_due = {vim_id for vim_id in (*self._checks_due, *due) if vim_id in self.monitors}
        found = self.redis(read_cache(sorted(self._checks_due)))
        yield None  # on the way back
        for vim_id, cached in found.items():
            if monitor := self.monitors.get(vim_id):
                self._act(monitor, monitor.checked(cached.lease, cached.status))
        self._checks_due.clear()
        return 0.0

    def _act(self, monitor: Monitor, conclusion: UpdateVim | Left | None) -> None:
        """Host._act"""
        if self.monitors.get(monitor.assignment.vim_id) is not monitor:
            return
        if isinstance(conclusion, Left):
            self._check_exit(monitor, conclusion)
            self._let_go(monitor, conclusion.why)
        elif conclusion is not None:
            self.say(conclusion)

    def _check_exit(self, monitor: Monitor, left: Left) -> None:
        """The wanted action never exits. Not wanted: another holder; a generation that a restored backup took back."""
        mine, row = monitor.assignment, self.parts.db.rows.get(monitor.assignment.vim_id)
        if row is None or row.deleted is not None or row.holder not in (None, monitor.holder):
            return
        wanted = (row.action_id, row.generation) == (mine.action_id, mine.generation)
        if wanted and mine.generation > self.parts.db.lost.get(row.vim_id, 0):
            self.parts.violate(f"the wanted action {mine.action_id} of {row.vim_id} exits: {left.why}")

    # Caller

    def say(self, update: UpdateVim) -> None:
        """Caller.say"""
        self.pending[update.vim_id] = _Pending(update, self.parts.new("r"), self.parts.now())

    def _send(self) -> Steps:
        """Caller._send"""
        yield Block(lambda: min((one.due for one in self.pending.values()), default=NEVER))
        waiting, now_s = self.redis(lambda redis: (len(redis.range(KEYS.requests)), redis.time()))
        if waiting >= self.parts.settings.requests_max:
            return 1.0
        yield None
        some = [one for one in self.pending.values() if one.due <= self.parts.now()]
        expires_at = round((now_s + self.parts.settings.request_ttl_s) * 1000)
        bodies = [call(one.request_id, one.update, reply_to=self._reply_to, expires_at=expires_at) for one in some]
        if bodies:
            self.redis(lambda redis: redis.rpush(KEYS.requests, *bodies))
        for one in some:
            one.due, one.wait_s = self.parts.now() + one.wait_s, min(2 * one.wait_s, LAST_RETRY_S)
        return 0.0

    def _receive(self) -> Steps:
        """Caller._receive, Caller._take, Host._hear. A lost answer to BLMPOP loses what it had popped."""
        yield Block(lambda: 0.0 if self.parts.redis.range(self._reply_to) else NEVER)
        for raw in self.redis(self._pop):
            request_id, reply = read_reply(raw)
            pending = next((one for one in self.pending.values() if one.request_id == request_id), None)
            if pending is None or isinstance(reply, CallFailed):
                continue
            del self.pending[pending.update.vim_id]
            self._hear(pending.update, reply)
        return 0.0

    def _pop(self, redis: Redis) -> list[bytes]:
        popped = redis.range(self._reply_to)
        redis.put(self._reply_to, [])
        return popped

    def _hear(self, update: UpdateVim, reply: Answer) -> None:
        """Host._hear"""
        monitor = self.monitors.get(update.vim_id)
        if monitor is not None and monitor.assignment.action_id == update.action_id:
            self._act(monitor, monitor.answered(update, reply))
