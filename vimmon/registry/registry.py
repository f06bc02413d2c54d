"""The registry: registers, changes and de-registers VIMs. Any number may run against one database.

Each change is one transaction. What follows from it, the lease and the job for Mistral, is done at once where Redis can
be reached, and otherwise later by a conductor, from the database: a change that was written is never taken back.
"""

import builtins
import functools
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from redis import Redis
from redis.exceptions import RedisError

from vimmon.errors import InvalidInput, repeated
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.lease.store import LeaseStore
from vimmon.log import event
from vimmon.probes import probe_for
from vimmon.registry.database import check_schema, open_engine
from vimmon.registry.store import StatusChange, VimStore
from vimmon.settings import Settings, load_settings
from vimmon.vim import Vim, VimOrigin, VimStatus, VimType, check_name, check_vim_id, parse_auth_url

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """A change that was written. `delayed` says why what follows from it comes later; None: it is under way."""

    vim: Vim
    delayed: str | None = None


class Jobs(Protocol):
    """As much of a JobQueue as a registry uses."""

    def start(self, vim_id: str, generation: int) -> bool: ...
    def stop(self, vim_id: str, action_id: str | None) -> bool: ...


class Registry:
    """Raises VimNotFound, VimExists, NameTaken, VimChanged, InvalidInput, DatabaseUnreachable: nothing was changed."""

    def __init__(self, vims: VimStore, leases: LeaseStore, jobs: Jobs) -> None:
        self._vims = vims
        self._leases = leases
        self._jobs = jobs

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """The registry that the environment describes. Raises SettingsError and SchemaOutdated."""
        settings = settings or load_settings()
        engine = open_engine(settings.database_url.get_secret_value())
        check_schema(engine)
        redis = connect(settings)
        leases = LeaseStore(redis, Keys(settings.prefix), ttl_s=settings.lease_ttl_s)
        return cls(VimStore(engine), leases, _LateQueue(redis, settings.prefix))

    def register(
        self,
        name: str,
        auth_url: str,
        *,
        type: str = VimType.OPENSTACK,
        probe: Mapping[str, Any] | None = None,
        vim_id: str | None = None,
        origin: VimOrigin = VimOrigin.OPERATOR,
    ) -> Change:
        """Registers a VIM and has it watched; its status is PENDING until the first report.

        `vim_id`: the id that it has elsewhere; one that was de-registered comes back under it. Raises VimExists where a
        VIM with it is registered.
        """
        vim_type = _check_type(type)
        parse_auth_url(auth_url)
        settings = probe_for(vim_type, auth_url, probe).settings()
        vim = self._vims.register(
            vim_id=str(uuid.uuid4()) if vim_id is None else check_vim_id(vim_id),
            name=check_name(name),
            vim_type=vim_type,
            auth_url=auth_url,
            probe=settings,
            action_id=str(uuid.uuid4()),
            origin=origin,
        )
        return Change(vim, self._carry_on(vim, stop=None))

    def update(
        self,
        vim: str,
        *,
        name: str | None = None,
        auth_url: str | None = None,
        probe: Mapping[str, Any] | None = None,
    ) -> Change:
        """Changes a VIM. Another auth_url or probe has it watched anew, by another action; another name does not.

        Raises VimChanged where somebody else changed it since it was read.
        """
        old = self._vims.get(vim)
        new_name = old.name if name is None else check_name(name)
        new_url = old.auth_url if auth_url is None else auth_url
        parse_auth_url(new_url)
        new_probe = probe_for(old.type, new_url, old.probe if probe is None else probe).settings()
        if (new_url, new_probe) == (old.auth_url, old.probe):
            return Change(old if new_name == old.name else self._vims.rename(old.id, new_name))
        new = self._vims.restart(
            old.id,
            expected_generation=old.generation,
            action_id=str(uuid.uuid4()),
            name=None if name is None else new_name,
            auth_url=new_url,
            probe=new_probe,
        )
        return Change(new, self._carry_on(new, stop=old.action_id))

    def deregister(self, vim: str) -> Change:
        """De-registers a VIM: its name is free again, its action leaves, Mistral is cleaned. Returns it as it was."""
        old = self._vims.get(vim)
        gone = self._vims.deregister(old.id)
        follow = _Follow(Lease(gone.generation, None), start=False, stop=gone.action_id)
        return Change(old, self._follow(old.id, follow))

    def get(self, vim: str) -> Vim:
        """By name or id."""
        return self._vims.get(vim)

    def find(self, typed: str) -> Vim:
        """By what a person types: a name, an id, or a start of either that no other VIM has. Raises VimAmbiguous."""
        return self._vims.find(typed)

    def history(self, vim: str, *, limit: int = 50) -> builtins.list[StatusChange]:
        """The VIM's latest changes of status, newest first."""
        return self._vims.history(self._vims.get(vim).id, limit)

    def list(self, status: VimStatus | None = None) -> builtins.list[Vim]:
        """All that are registered, or those with this status, by name."""
        return self._vims.list(status)

    def _carry_on(self, vim: Vim, *, stop: str | None) -> str | None:
        return self._follow(vim.id, _Follow(Lease(vim.generation, vim.action_id), start=True, stop=stop))

    def _follow(self, vim_id: str, follow: "_Follow") -> str | None:
        """Grants the lease and enqueues the jobs. Returns why not, where Redis is away."""
        try:
            self._leases.grant(vim_id, follow.lease)
            if follow.start:
                self._jobs.start(vim_id, follow.lease.generation)
            if follow.stop is not None:
                self._jobs.stop(vim_id, follow.stop)
        except RedisError as trouble:
            log.warning(event("redis_away", vim_id=vim_id, generation=follow.lease.generation, error=trouble))
            return f"Redis cannot be reached ({trouble}); a conductor does the rest once it can"
        return None


class _LateQueue:
    """The queue, made when it is first used: RQ takes long to load, and whoever only looks does not need it."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._name = name

    def start(self, vim_id: str, generation: int) -> bool:
        return self._queue.start(vim_id, generation)

    def stop(self, vim_id: str, action_id: str | None) -> bool:
        return self._queue.stop(vim_id, action_id)

    @functools.cached_property
    def _queue(self) -> Jobs:
        from vimmon.mistral.queue import JobQueue

        return JobQueue(self._redis, name=self._name)


@dataclass(frozen=True)
class _Follow:
    lease: Lease
    start: bool
    stop: str | None


def _check_type(text: str) -> VimType:
    try:
        return VimType(text)
    except ValueError:
        raise InvalidInput("type", f"{repeated(text)!r} is none", remedy=f"Give one of {', '.join(VimType)}") from None
