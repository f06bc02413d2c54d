"""What a command needs to do its work: the registry and the view of the leases, from the environment."""

from collections.abc import Sequence
from typing import Annotated

import typer
from redis.exceptions import RedisError

from vimmon.cli.output import warn
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.lease.view import LeaseView
from vimmon.registry.registry import Change, Registry
from vimmon.settings import Settings, load_settings
from vimmon.vim import Vim

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VimArgument = Annotated[str, typer.Argument(metavar="VIM", help="Its name or id.")]


class Tools:
    """Raises SettingsError, SchemaOutdated, DatabaseUnreachable when made. Redis is first asked when it is needed."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self.registry = Registry.from_settings(self.settings)
        self.leases = LeaseView(connect(self.settings), Keys(self.settings.prefix))

    def complete(self, vims: Sequence[Vim]) -> list[Vim]:
        """The VIMs with what only Redis knows; with a warning, and without it, where Redis is away."""
        try:
            return self.leases.complete(vims)
        except RedisError as trouble:
            warn(f"executor and last check are not shown: Redis cannot be reached ({trouble})")
            return list(vims)

    def tell_delayed(self, change: Change) -> None:
        """A change that was written, but whose effect comes later, is told."""
        if change.delayed is not None:
            warn(f"the change is stored; its effect is delayed: {change.delayed}")
