"""When the conductor answers without the database: it refuses what is older, and repeats what it saw committed."""

import pytest

from vimmon.conductor.methods import answer_from_cache
from vimmon.lease.model import CommittedStatus, Lease
from vimmon.lease.store import Cached
from vimmon.messages import Answer, UpdateVim
from vimmon.vim import VimStatus

LEASE = Lease(7, "a")
STATUS = CommittedStatus(7, 12, VimStatus.REACHABLE, "h")


def update(**changed: object) -> UpdateVim:
    said = {"vim_id": "v", "status": "REACHABLE", "action_id": "a", "generation": 7, "seq": 12, "holder": "h"}
    return UpdateVim.model_validate({name: value for name, value in (said | changed).items() if value is not None})


@pytest.mark.parametrize("seq", [1, 11, 12])
def test_a_repeat_is_answered_with_what_is_known(seq: int) -> None:
    known = Answer(status=VimStatus.REACHABLE, applied=False, seq=12)
    assert answer_from_cache(update(seq=seq), Cached(LEASE, STATUS)) == known


@pytest.mark.parametrize("lease", [Lease(8, "b"), Lease(8, None), Lease(8, "a")])
def test_a_lower_generation_is_refused(lease: Lease) -> None:
    assert answer_from_cache(update(), Cached(lease, STATUS)) == Answer(status="bad_action")


@pytest.mark.parametrize(
    ("changed", "lease", "status"),
    [
        ({"seq": 13}, LEASE, STATUS),  # news
        ({"seq": None}, LEASE, STATUS),  # the row's next one
        ({"generation": None}, LEASE, STATUS),
        ({"generation": 8}, LEASE, STATUS),  # the cache is behind
        ({"action_id": "b"}, LEASE, STATUS),
        ({"holder": "other"}, LEASE, STATUS),
        ({}, LEASE, CommittedStatus(6, 12, VimStatus.REACHABLE, "h")),
        ({}, LEASE, CommittedStatus(8, 12, VimStatus.REACHABLE, "h")),
        ({}, Lease(7, "b"), STATUS),
        ({}, Lease(7, None), STATUS),
        ({}, Lease(6, "a"), STATUS),
        ({}, None, STATUS),
        ({}, LEASE, None),
        ({"generation": None}, Lease(8, "b"), STATUS),  # no generation, no refusal
    ],
)
def test_everything_else_is_the_databases_to_decide(
    changed: dict[str, object], lease: Lease | None, status: CommittedStatus | None
) -> None:
    assert answer_from_cache(update(**changed), Cached(lease, status)) is None
