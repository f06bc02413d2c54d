"""VIMs that monitors watch without a Mistral, and what can be asked of them: for faults that must restart nothing."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.ground import READY_S, Ground, Talking, answers, ground
from tests.chaos.rows import Late, Row, Scale, seconds_until, until
from tests.chaos.valve import Valve
from vimmon.lease.model import CommittedStatus, Lease
from vimmon.probes import probe_for
from vimmon.vim import Vim

VIMS, HOSTS = 20, 2
HEALED_WITHIN_S = 90
PARTS = ("--workers", "0")


class Watched:
    """VIMs that are held and REACHABLE. VIM number n has target number n.

    The conductors share a way to Redis, `conductors_valve`; each host has its own.
    """

    def __init__(self, on: Ground, *, env: Mapping[str, str] | None = None, conductors: int = 2) -> None:
        self.on = on
        self.conductors = [on.conductor(*PARTS, env=env, wait=False) for _ in range(conductors)]
        self.hosts: list[Talking] = []
        self.conductors_valve = on.redis_valve
        self.host_valves = [on.stack.enter_context(Valve(on.redis_server.port)) for _ in range(HOSTS)]
        for number, valve in enumerate(self.host_valves):
            executor = {"VIMMON_REDIS_URL": valve.redis_url, "VIMMON_EXECUTOR_NAME": f"host-{number}"}
            self.hosts.append(on.talking("tests.chaos.host", env={**executor, **(env or {})}))
        for host in self.hosts:
            host.hear(READY_S)
        for conductor in self.conductors:
            conductor.wait_ready(lambda one=conductor: answers(one), READY_S)  # type: ignore[misc]  # mypy: default
        self.vims = on.registered(VIMS)
        self.ids = [vim.id for vim in self.vims]
        for number, host in enumerate(self.hosts):
            host.tell(watch=[_assignment(vim) for vim in self.vims[number::HOSTS]])
        for vim in self.vims:
            on.vims.record_execution(vim.id, generation=1, execution_id=vim.action_id or "")
        self.expected = dict.fromkeys(self.ids, "REACHABLE")
        until(self.healed, READY_S, "all VIMs held and REACHABLE")

    @property
    def valves(self) -> list[Valve]:
        return [self.conductors_valve, *self.host_valves]

    def all_up(self) -> None:
        """Returns when nothing is left to be seen of an earlier row."""
        for number in range(VIMS):
            self.up(number)
        until(self.healed, READY_S, "all VIMs held and REACHABLE again")

    def down(self, number: int) -> None:
        self.on.targets.stop(number)
        self.expected[self.ids[number]] = "UNREACHABLE"

    def up(self, number: int) -> None:
        self.on.targets.start(number)
        self.expected[self.ids[number]] = "REACHABLE"

    def healed(self) -> bool:
        """Whether rows, leases, committed statuses and held lists say what is so."""
        rows = self.on.audit.rows(self.ids)
        if any(rows[vim_id]["status"] != status for vim_id, status in self.expected.items()):
            return False
        for vim_id, cached in zip(self.ids, self.on.leases.read(self.ids), strict=True):
            row = rows[vim_id]
            if cached.lease != Lease(row["generation"], row["action_id"]):
                return False
            if cached.status != CommittedStatus(row["generation"], row["status_seq"], row["status"], row["holder"]):
                return False
        return self.on.all_held(self.ids) and self.on.nothing_taken()

    def judge(self, row: Row) -> Row:
        """From now on it must heal, with nobody restarted and nobody gone."""
        scale = self.on.scale
        try:
            row.heal_s = seconds_until(self.healed, scale.s(HEALED_WITHIN_S) + scale.slack_s, "healed")
        except Late as late:
            row.why.append(str(late))
        rows = self.on.audit.rows(self.ids)
        row.lost = sum(rows[vim_id]["status"] != status for vim_id, status in self.expected.items())
        row.must(not row.lost, f"{row.lost} statuses are not what they should be")
        until_ = time.monotonic() + scale.s(40)  # long enough for a verdict that comes late
        while time.monotonic() < until_ and not row.restarts:
            row.restarts = sum(self.on.audit.generations(self.ids).values()) - len(self.ids)
            time.sleep(0.2)
        row.must(not row.restarts, f"{row.restarts} monitors were restarted")
        logs = [log.read_text() for log in self.on.folder.glob("host-*.log")]
        row.must(len(logs) == HOSTS, "a host is not watched")
        left = sum(log.count("monitor_left") for log in logs)
        row.must(not left, f"{left} actions left")
        row.must(all(host.process.poll() is None for host in self.hosts), "a host ended")
        unknown = self.on.audit.statuses(self.ids).count("UNKNOWN")
        row.must(not unknown, f"{unknown} times a status became UNKNOWN")
        row.note_writes(self.on.audit.stale(self.ids))
        return row


def _assignment(vim: Vim) -> dict[str, object]:
    probe = probe_for(vim.type, vim.auth_url, vim.probe).model_dump(mode="json")
    return {"vim_id": vim.id, "action_id": vim.action_id, "generation": vim.generation, "probe": probe}


@contextmanager
def watched(folder: Path, scale: Scale, *, persistent: bool = False) -> Iterator[Watched]:
    with ground(folder, scale, targets=VIMS, persistent=persistent) as on:
        yield Watched(on)
