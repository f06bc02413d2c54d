"""What a command needs to do its work: the registry and the view of the leases, from the environment."""

from collections.abc import Sequence
from typing import Annotated

import typer
from redis.exceptions import RedisError

from vimmon.asks import Found
from vimmon.cli.output import warn
from vimmon.lease.asker import Asker
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.lease.view import LeaseView
from vimmon.probes import probe_for
from vimmon.redis_url import redis_unreachable
from vimmon.registry.registry import Change, Registry
from vimmon.settings import Settings, load_settings
from vimmon.vim import Vim

PATIENCE_S = 5.0  # with an executor, beyond the time that its probe may take

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VimArgument = Annotated[str, typer.Argument(metavar="VIM", help="Its name or id.")]


class Tools:
    """Raises SettingsError, SchemaOutdated, DatabaseUnreachable when made. Redis is first asked when it is needed."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self.registry = Registry.from_settings(self.settings)
        self._redis, self._keys = connect(self.settings), Keys(self.settings.prefix)
        self.leases = LeaseView(self._redis, self._keys)

    def complete(self, vims: Sequence[Vim]) -> list[Vim]:
        """The VIMs with what only Redis knows; with a warning, and without it, where Redis is away."""
        try:
            return self.leases.complete(vims)
        except RedisError as trouble:
            warn(f"executor and last check are not shown: Redis cannot be reached ({trouble})")
            return list(vims)

    def check(self, vim: Vim) -> Found:
        """What its executor finds when it probes it now. Raises NobodyHolds, ExecutorSilent, RedisUnreachable."""
        probe = probe_for(vim.type, vim.auth_url, vim.probe)
        try:
            return Asker(self._redis, self._keys, self.leases).check(vim, timeout_s=probe.timeout_s + PATIENCE_S)
        except RedisError as trouble:
            raise redis_unreachable(trouble) from None

    def tell_delayed(self, change: Change) -> None:
        """A change that was written, but whose effect comes later, is told."""
        if change.delayed is not None:
            warn(f"the change is stored; its effect is delayed: {change.delayed}")
