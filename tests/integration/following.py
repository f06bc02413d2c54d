"""A Tacker that is followed: an HTTP server that lists VIMs as Tacker does, and the registry that follows it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from sqlalchemy import insert

from tests.integration.bench import Bench
from tests.support.tacker import TackerServer
from vimmon import Registry
from vimmon.probes import probe_for
from vimmon.registry.models import VIMS
from vimmon.registry.store import Report
from vimmon.settings import Settings
from vimmon.tacker.client import TackerClient
from vimmon.tacker.following import Following
from vimmon.tacker.state import read_following
from vimmon.tacker.sync import Passed, TackerSync
from vimmon.vim import Vim, VimOrigin, VimStatus, VimType


@dataclass
class Ground:
    tacker: TackerServer
    registry: Registry
    redis: Redis
    bench: Bench

    def client(self, environ: Mapping[str, str] | None = None, **settings: Any) -> TackerClient:
        given = {"tacker_url": self.tacker.url, "tacker_timeout_s": 5, **settings}
        return TackerClient(Settings.model_validate(given), environ=environ or {})

    def sync(self, environ: Mapping[str, str] | None = None, **settings: Any) -> TackerSync:
        client, give = self.client(environ, **settings), bool(settings.get("tacker_give_status"))
        return TackerSync(client, self.registry, self.redis, self.bench.keys, give_status=give)

    def run(self, **how: Any) -> Passed:
        return self.sync().run_once(**how)

    def names(self) -> dict[str, str]:
        return {vim.id: vim.name for vim in self.registry.list()}

    def vim(self, vim_id: str) -> Vim:
        return self.registry.get(vim_id)

    def said(self) -> Following:
        following = read_following(self.redis, self.bench.keys)
        assert following is not None
        return following


def reported(
    ground: Ground, vim_id: str, status: VimStatus = VimStatus.REACHABLE, reason: str = "HTTP 300 in 9 ms"
) -> Report:
    """What the monitor of a VIM would say next."""
    return Report(vim_id, str(ground.vim(vim_id).action_id), status, None, "holder", reason)


def enter_all(ground: Ground) -> None:
    """All that is listed, as it were after the first pass, without the work of that."""
    template = {column.name: None for column in VIMS.columns} | {
        "status": "REACHABLE",
        "status_seq": 1,
        "generation": 1,
    }
    now = datetime.now(UTC)
    template |= {"status_since": now, "created_at": now, "updated_at": now, "starts": 0, "origin": VimOrigin.TACKER}
    probe = json.dumps(probe_for(VimType.OPENSTACK, "http://10.0.0.1:5000/v3", None).settings())
    rows = [
        template
        | {"id": vim["id"], "name": vim["name"], "live_name": vim["name"], "type": vim["type"], "probe": probe}
        | {"auth_url": vim["auth_url"], "action_id": f"a-{vim['id']}"}
        for vim in ground.tacker.vims.values()
    ]
    with ground.bench.engine.begin() as connection:
        connection.execute(insert(VIMS), rows)
