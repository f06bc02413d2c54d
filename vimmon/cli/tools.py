"""What a command needs to do its work: the registry and the view of the leases, from the environment.

Loaded where a command runs, and not with it: it takes most of the time that `vimmon --help` would take.
"""

from collections.abc import Sequence

from redis.exceptions import RedisError

from vimmon.asks import Found
from vimmon.cli.output import warn
from vimmon.lease.asker import Asker
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.lease.view import LeaseReport, LeaseView
from vimmon.probes import probe_for
from vimmon.redis_url import redis_unreachable
from vimmon.registry.registry import Change, Registry
from vimmon.settings import Settings, load_settings
from vimmon.vim import Vim

PATIENCE_S = 5.0  # with an executor, beyond the time that its probe may take


class Tools:
    """Raises SettingsError, SchemaOutdated, DatabaseUnreachable when made. Redis is first asked when it is needed."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self.registry = Registry.from_settings(self.settings)
        self._redis, self._keys = connect(self.settings), Keys(self.settings.prefix)
        self._leases = LeaseView(self._redis, self._keys)

    def completed(self, vims: Sequence[Vim]) -> tuple[list[Vim], str]:
        """The VIMs with what only Redis knows; where Redis is away, without it, and why."""
        try:
            return self._leases.complete(vims), ""
        except RedisError as trouble:
            return list(vims), str(redis_unreachable(trouble))

    def complete(self, vims: Sequence[Vim]) -> list[Vim]:
        """The same, with a warning on standard error."""
        completed, trouble = self.completed(vims)
        if trouble:
            warn(f"executor and last check are not shown: {trouble}")
        return completed

    def leases_of(self, vims: Sequence[Vim]) -> list[LeaseReport]:
        """Raises RedisUnreachable."""
        try:
            return self._leases.report(vims)
        except RedisError as trouble:
            raise redis_unreachable(trouble) from None

    def lease_of_unregistered(self, vim_id: str) -> LeaseReport | None:
        """Raises RedisUnreachable."""
        try:
            return self._leases.report_unregistered(vim_id)
        except RedisError as trouble:
            raise redis_unreachable(trouble) from None

    def check(self, vim: Vim) -> Found:
        """What its executor finds when it probes it now. Raises NobodyHolds, ExecutorSilent, RedisUnreachable."""
        probe = probe_for(vim.type, vim.auth_url, vim.probe)
        try:
            return Asker(self._redis, self._keys, self._leases).check(vim, timeout_s=probe.timeout_s + PATIENCE_S)
        except RedisError as trouble:
            raise redis_unreachable(trouble) from None

    def tell_delayed(self, change: Change) -> None:
        """A change that was written, but whose effect comes later, is told."""
        if change.delayed is not None:
            warn(f"the change is stored; its effect is delayed: {change.delayed}")
