"""When the conductor answers without the database: it refuses what is older, and repeats what it saw committed."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from vimmon.conductor.methods import answer_from_cache, is_news
from vimmon.lease.model import CommittedStatus, Lease
from vimmon.lease.store import Cached, read_cached
from vimmon.messages import Answer, UpdateVim, update_of
from vimmon.vim import VimStatus

LEASE = Lease(7, "a")
STATUS = CommittedStatus(7, 12, VimStatus.REACHABLE, "h")


def update(**changed: object) -> UpdateVim:
    said = {"vim_id": "v", "status": "REACHABLE", "action_id": "a", "generation": 7, "seq": 12, "holder": "h"}
    return update_of({name: value for name, value in (said | changed).items() if value is not None})


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


def test_what_was_not_committed_yet_is_news_at_first_sight() -> None:
    assert is_news(update(seq=13), b"7:a", b"7:12:REACHABLE:h")
    assert is_news(update(seq=1), b"7:a", None)


LEASES = some.sampled_from([None, b"7:a", b"7:b", b"8:a", b"6:a", b"7:-", b"07:a", b"x", b"\xff", b"7:a\n", b"None:a"])
SEQS = some.sampled_from([b"1", b"11", b"12", b"13", b"012", b"9" * 15, b"9" * 16, b"9" * 5000, b"-1", b"", b"\xb2"])
STATUSES = some.none() | some.builds(
    lambda *parts: b":".join(parts),
    some.sampled_from([b"7", b"6", b"8", b"", b"x"]),
    SEQS,
    some.sampled_from([b"REACHABLE", b"ODD", b""]),
    some.sampled_from([b"h", b"other", b"", b":"]),
)
UPDATES = some.fixed_dictionaries(
    {
        "seq": some.sampled_from([None, 1, 12, 13]),
        "generation": some.sampled_from([None, 6, 7, 8]),
        "action_id": some.sampled_from(["a", "b", "-"]),
        "holder": some.sampled_from(["h", "other"]),
    }
)


@given(UPDATES, LEASES, STATUSES)
def test_of_what_is_news_at_first_sight_the_cache_has_no_answer(
    said: dict[str, object], lease: bytes | None, status: bytes | None
) -> None:
    if is_news(update(**said), lease, status):
        assert answer_from_cache(update(**said), read_cached(lease, status)) is None
