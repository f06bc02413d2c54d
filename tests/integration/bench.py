"""A conductor on a table: a real Redis, a real database, and the server driven one batch at a time."""

import uuid
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis import Redis
from sqlalchemy import Engine, text

from vimmon.conductor.presence import new_conductor_id
from vimmon.conductor.requests import RequestList
from vimmon.conductor.server import Server
from vimmon.conductor.tally import Tally
from vimmon.conductor.upkeep import Upkeep
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.lease.store import LeaseStore
from vimmon.mistral.queue import JobQueue
from vimmon.registry.store import VimStore
from vimmon.settings import Settings
from vimmon.vim import Vim, VimType

REPLIES = "vimmon:rpc:replies:test"


@dataclass
class Bench:
    """`conductor_id` has no heartbeat: whatever it takes and does not answer counts as abandoned."""

    redis: Redis
    engine: Engine
    keys: Keys = field(default_factory=Keys)
    conductor_id: str = field(default_factory=new_conductor_id)

    def __post_init__(self) -> None:
        self.vims = VimStore(self.engine)
        self.leases = LeaseStore(self.redis, self.keys, ttl_s=900)
        self.requests = RequestList(self.redis, self.keys, self.conductor_id)
        self.tally = Tally()
        self.server = Server(
            self.requests, self.leases, self.vims, redis=self.redis, keys=self.keys, batch=100, tally=self.tally
        )

    def registered(self, name: str = "tokyo") -> Vim:
        """A VIM as the registry leaves it: a row, and its lease."""
        vim = self.vims.register(
            vim_id=str(uuid.uuid4()),
            name=name,
            vim_type=VimType.GENERIC,
            auth_url="http://192.0.2.1:5000/v3",
            probe={"kind": "tcp"},
            action_id=str(uuid.uuid4()),
        )
        self.leases.grant(vim.id, Lease(vim.generation, vim.action_id))
        return vim

    def restarted(self, vim: Vim) -> Vim:
        """The VIM with another action; Redis is not told."""
        return self.vims.restart(vim.id, expected_generation=vim.generation, action_id=str(uuid.uuid4()))

    def push(self, *requests: bytes | dict[str, Any]) -> None:
        raw = [request if isinstance(request, bytes) else orjson.dumps(request) for request in requests]
        self.redis.rpush(self.keys.requests, *raw)

    def serve(self) -> None:
        """Serves until no request waits."""
        while self.redis.llen(self.keys.requests):
            self.server.serve_once(block_s=0.01)

    def replies(self) -> list[dict[str, Any]]:
        """What was answered since last asked."""
        raw = self.redis.lrange(REPLIES, 0, -1)
        self.redis.delete(REPLIES)
        return [orjson.loads(reply) for reply in raw]

    def ask(self, request: bytes | dict[str, Any]) -> dict[str, Any]:
        """The one answer to a request."""
        self.push(request)
        self.serve()
        (reply,) = self.replies()
        return reply

    def row(self, vim: Vim) -> dict[str, Any]:
        """Every column, by plain SQL."""
        with self.engine.connect() as connection:
            found = connection.execute(text("SELECT * FROM vims WHERE id = :id"), {"id": vim.id})
            return dict(found.mappings().one())

    def changes(self, vim: Vim) -> list[str]:
        """The VIM's statuses one after another, as the history has them."""
        return [str(change.new) for change in reversed(self.vims.history(vim.id))]


def update_vim(vim: Vim, status: str = "REACHABLE", *, id: str | None = None, **params: Any) -> dict[str, Any]:
    """A request in the VIM's own name; a parameter None is left out."""
    said = {"vim_id": vim.id, "status": status, "action_id": vim.action_id, "generation": vim.generation, **params}
    return {
        "jsonrpc": "2.0",
        "id": id or str(uuid.uuid4()),
        "method": "update_vim",
        "params": {name: value for name, value in said.items() if value is not None},
        "reply_to": REPLIES,
    }


def upkeep(bench: Bench, *, forgotten_after_s: float = 60) -> Upkeep:
    return Upkeep(
        redis=bench.redis,
        vims=bench.vims,
        jobs=JobQueue(bench.redis, name="vimmon"),
        settings=Settings(),
        conductor_id="upkeep:1:aa",
        forgotten_after_s=forgotten_after_s,
    )
