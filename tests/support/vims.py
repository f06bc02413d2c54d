"""A VIM for tests that need no database."""

from datetime import UTC, datetime
from typing import Any

from vimmon.vim import Vim, VimStatus, VimType

LONG_AGO = datetime(2026, 10, 1, tzinfo=UTC)


def a_vim(**differs: Any) -> Vim:
    usual = {
        "id": "21636369-8b52-9b4a-97b7-50923ceb3ffd",
        "name": "tokyo",
        "type": VimType.OPENSTACK,
        "auth_url": "https://keystone.example.org:5000/v3",
        "probe": {"kind": "http"},
        "status": VimStatus.REACHABLE,
        "reason": "HTTP 300 in 31 ms",
        "status_since": LONG_AGO,
        "action_id": "a",
        "generation": 7,
        "execution_id": "a",
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    }
    return Vim.model_validate({**usual, **differs})
