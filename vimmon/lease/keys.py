"""The name of every key that vimmon keeps in Redis, where an operator finds them with `redis-cli`."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    prefix: str = "vimmon"

    def lease(self, vim_id: str) -> str:
        return f"{self.prefix}:lease:{vim_id}"

    def status(self, vim_id: str) -> str:
        return f"{self.prefix}:status:{vim_id}"

    def leases_and_statuses(self, leases: Iterable[str], statuses: Iterable[str]) -> list[str]:
        """The lease keys of these VIMs, then the status keys of those."""
        lease, status = self.lease(""), self.status("")
        return [lease + vim_id for vim_id in leases] + [status + vim_id for vim_id in statuses]

    @property
    def executors(self) -> str:
        return f"{self.prefix}:executors"

    def executor(self, executor_id: str) -> str:
        return f"{self.prefix}:executor:{executor_id}"

    def held(self, executor_id: str) -> str:
        return f"{self.prefix}:executor:{executor_id}:held"

    def seen(self, executor_id: str) -> str:
        return f"{self.prefix}:executor:{executor_id}:seen"

    def metrics(self, executor_id: str) -> str:
        """What it counts for its operators."""
        return f"{self.prefix}:executor:{executor_id}:metrics"

    def asks(self, executor_id: str) -> str:
        """ "Probe this VIM now"."""
        return f"{self.prefix}:executor:{executor_id}:asks"

    def answer(self, executor_id: str, ask_id: str) -> str:
        return f"{self.prefix}:executor:{executor_id}:answer:{ask_id}"

    @property
    def totals(self) -> str:
        """What all conductors together have counted."""
        return f"{self.prefix}:totals"

    @property
    def requests(self) -> str:
        return f"{self.prefix}:rpc:requests"

    @property
    def taken_index(self) -> str:
        return f"{self.prefix}:rpc:taken"

    def taken(self, conductor_id: str, batch: str) -> str:
        return f"{self.prefix}:rpc:taken:{conductor_id}:{batch}"

    def conductor_of(self, taken: str) -> str:
        """The conductor that made a taken-list, read from the list's name."""
        return taken.removeprefix(f"{self.taken_index}:").rpartition(":")[0]

    @property
    def replies_prefix(self) -> str:
        return f"{self.prefix}:rpc:replies:"

    def replies(self, client: str) -> str:
        return f"{self.replies_prefix}{client}"

    @property
    def dead(self) -> str:
        return f"{self.prefix}:rpc:dead"

    @property
    def conductors(self) -> str:
        return f"{self.prefix}:conductors"

    def conductor(self, conductor_id: str) -> str:
        return f"{self.prefix}:conductor:{conductor_id}"

    @property
    def reconciler(self) -> str:
        return f"{self.prefix}:reconciler"

    @property
    def tacker(self) -> str:
        """What became of following Tacker."""
        return f"{self.prefix}:tacker"

    @property
    def tacker_turn(self) -> str:
        """Who reads Tacker's list now."""
        return f"{self.prefix}:tacker:turn"

    @property
    def epoch(self) -> str:
        return f"{self.prefix}:epoch"

    @property
    def installation(self) -> str:
        return f"{self.prefix}:installation"

    @property
    def events(self) -> str:
        return f"{self.prefix}:events"
