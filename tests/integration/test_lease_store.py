"""Leases and committed statuses on a real Redis: whoever writes, in whatever order, they only go forward."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis import Redis

from vimmon.lease.keys import Keys
from vimmon.lease.model import CommittedStatus, Lease, parse_lease, parse_status
from vimmon.lease.store import LeaseStore
from vimmon.vim import VimStatus

VIM = "v"


@pytest.fixture
def store(redis: Redis, keys: Keys) -> LeaseStore:
    return LeaseStore(redis, keys, ttl_s=900)


def status(generation: int, seq: int, value: VimStatus = VimStatus.REACHABLE) -> CommittedStatus:
    return CommittedStatus(generation, seq, value, "executor:1:a:b")


def test_a_granted_lease_is_read_by_redis_cli_as_generation_and_action(store: LeaseStore, redis: Redis) -> None:
    assert store.grant(VIM, Lease(7, "3f2c"))
    assert redis.get("vimmon:lease:v") == b"7:3f2c"
    assert 890_000 < redis.pttl("vimmon:lease:v") <= 900_000


def test_a_tombstone_takes_the_place_of_a_lease(store: LeaseStore, redis: Redis) -> None:
    store.grant(VIM, Lease(7, "3f2c"))
    assert store.grant(VIM, Lease(8, None))
    assert redis.get("vimmon:lease:v") == b"8:-"


def test_an_older_lease_is_not_granted_and_does_not_live_on(store: LeaseStore, redis: Redis) -> None:
    store.grant(VIM, Lease(8, "new"))
    redis.pexpire("vimmon:lease:v", 50_000)
    assert not store.grant(VIM, Lease(7, "old"))
    assert redis.get("vimmon:lease:v") == b"8:new"
    assert redis.pttl("vimmon:lease:v") <= 50_000


def test_another_action_of_the_same_generation_is_not_granted(store: LeaseStore, redis: Redis) -> None:
    store.grant(VIM, Lease(7, "one"))
    assert not store.grant(VIM, Lease(7, "two"))
    assert redis.get("vimmon:lease:v") == b"7:one"


def test_granting_again_lets_the_lease_live_on(store: LeaseStore, redis: Redis) -> None:
    store.grant(VIM, Lease(7, "one"))
    redis.pexpire("vimmon:lease:v", 1000)
    assert store.grant(VIM, Lease(7, "one"))
    assert redis.pttl("vimmon:lease:v") > 800_000


def test_a_number_of_another_length_is_compared_as_a_number(store: LeaseStore) -> None:
    store.grant(VIM, Lease(9, "nine"))
    assert store.grant(VIM, Lease(10, "ten"))
    assert not store.grant(VIM, Lease(9, "nine"))


@pytest.mark.parametrize(
    "garbage",
    [b"", b"x", b"7", b":a", b"7:", b"\xff", b"7.5:a", b"-7:a", b"9" * 16 + b":a", b"9" * 5000 + b":a:REACHABLE:h"],
)
def test_garbage_is_read_as_nothing_and_overwritten(store: LeaseStore, redis: Redis, garbage: bytes) -> None:
    redis.set("vimmon:lease:v", garbage)
    redis.set("vimmon:status:v", garbage)
    (cached,) = store.read([VIM])
    assert cached.lease is None
    assert cached.status is None
    assert store.advance({VIM: Lease(1, "a")}, {VIM: status(1, 1)}, as_of_ms=store.now_ms()) == 2
    (cached,) = store.read([VIM])
    assert (cached.lease, cached.status) == (Lease(1, "a"), status(1, 1))


def test_a_status_of_an_older_generation_or_seq_is_not_written(store: LeaseStore) -> None:
    now = store.now_ms()
    store.advance({}, {VIM: status(2, 5)}, as_of_ms=now)
    for older in (status(1, 9, VimStatus.UNREACHABLE), status(2, 4, VimStatus.UNREACHABLE)):
        assert store.advance({}, {VIM: older}, as_of_ms=now) == 0
    assert store.advance({}, {VIM: status(3, 1, VimStatus.UNREACHABLE)}, as_of_ms=now) == 1


def test_a_lying_status_of_the_same_seq_is_corrected(store: LeaseStore) -> None:
    now = store.now_ms()
    store.advance({}, {VIM: status(2, 5, VimStatus.UNREACHABLE)}, as_of_ms=now)
    assert store.advance({}, {VIM: status(2, 5)}, as_of_ms=now) == 1


def test_of_thousands_that_are_written_at_once_none_goes_back_and_none_stands_in_the_way(
    store: LeaseStore, redis: Redis
) -> None:
    leases = {f"v{number}": Lease(7, f"a{number}") for number in range(1700)}
    statuses = {vim_id: status(7, 2) for vim_id in leases}
    newer = ("v0", "v999", "v1000", "v1699")
    for vim_id in newer:
        store.advance({vim_id: Lease(8, "new")}, {vim_id: status(8, 1)}, as_of_ms=store.now_ms())
    redis.rpush("vimmon:lease:v1001", "of another type")
    assert store.advance(leases, statuses, as_of_ms=store.now_ms()) == 2 * (1700 - len(newer))
    for vim_id, cached in zip(leases, store.read(list(leases)), strict=True):
        expected = (Lease(8, "new"), status(8, 1)) if vim_id in newer else (leases[vim_id], statuses[vim_id])
        assert cached == expected


def test_what_was_read_more_than_a_minute_ago_is_not_written(store: LeaseStore, redis: Redis) -> None:
    """The newer lease that would have refused it may have expired since."""
    assert store.advance({VIM: Lease(7, "a")}, {}, as_of_ms=store.now_ms() - 61_000) is None
    assert redis.keys() == []
    assert store.advance({VIM: Lease(7, "a")}, {}, as_of_ms=store.now_ms() - 50_000) == 1


def test_many_are_read_in_one_command(store: LeaseStore, redis: Redis) -> None:
    vims = [f"v{number}" for number in range(1000)]
    store.advance({vim: Lease(1, "a") for vim in vims[:500]}, {}, as_of_ms=store.now_ms())
    before = redis.info("commandstats")["cmdstat_mget"]["calls"] if "cmdstat_mget" in redis.info("commandstats") else 0
    cached = store.read(vims)
    assert redis.info("commandstats")["cmdstat_mget"]["calls"] == before + 1
    assert [bool(one.lease) for one in cached] == [True] * 500 + [False] * 500


TEXT = st.text(max_size=40) | st.from_regex(r"\A[0-9]{0,25}:[a-z0-9-]{0,5}(:[A-Z]{0,12}(:[a-z:]{0,9})?)?\Z")


@given(TEXT)
def test_a_lease_is_read_as_it_is_written_or_not_at_all(text: str) -> None:
    lease = parse_lease(text)
    assert lease is None or parse_lease(str(lease)) == lease


@given(TEXT)
def test_a_status_is_read_as_it_is_written_or_not_at_all(text: str) -> None:
    found = parse_status(text)
    assert found is None or parse_status(str(found)) == found


class Interleavings(RuleBasedStateMachine):
    """Registries that change the row; conductors and refillers that read it and write it to Redis later; a reader."""

    readings = Bundle("readings")
    redis: Redis

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.store = LeaseStore(self.redis, Keys(), ttl_s=900)
        self.row = Lease(1, "a1")
        self.seq = 0
        self.seen_lease = 0
        self.seen_status = (0, 0)

    @initialize()
    def begin(self) -> None:
        self.store.grant(VIM, self.row)

    @rule(target=readings)
    def read_the_row(self) -> tuple[Lease, CommittedStatus, int]:
        return self.row, status(self.row.generation, self.seq), self.store.now_ms()

    @rule()
    def commit_a_restart(self) -> None:
        generation = self.row.generation + 1
        self.row, self.seq = Lease(generation, f"a{generation}"), 0

    @rule()
    def commit_a_deregistration(self) -> None:
        if self.row.action_id is not None:
            self.row, self.seq = Lease(self.row.generation + 1, None), 0

    @rule()
    def commit_a_status(self) -> None:
        self.seq += 1

    @rule(reading=readings)
    def write_what_was_read_back_then(self, reading: tuple[Lease, CommittedStatus, int]) -> None:
        lease, committed, as_of_ms = reading
        self.store.advance({VIM: lease}, {VIM: committed}, as_of_ms=as_of_ms)

    @rule(reading=readings)
    def grant_late(self, reading: tuple[Lease, CommittedStatus, int]) -> None:
        self.store.grant(VIM, reading[0])

    @invariant()
    def no_reader_sees_anything_go_back(self) -> None:
        (cached,) = self.store.read([VIM])
        if cached.lease:
            assert cached.lease.generation >= self.seen_lease
            self.seen_lease = cached.lease.generation
        if cached.status:
            assert (cached.status.generation, cached.status.seq) >= self.seen_status
            self.seen_status = (cached.status.generation, cached.status.seq)

    def teardown(self) -> None:
        """The goal, not only that nothing went back: a refill with what is in the row now is what everybody reads."""
        self.store.advance({VIM: self.row}, {}, as_of_ms=self.store.now_ms())
        (cached,) = self.store.read([VIM])
        assert cached.lease == self.row


def test_in_any_interleaving_of_writers_and_refillers_no_generation_goes_back(redis: Redis) -> None:
    machine = type("OnThisRedis", (Interleavings,), {"redis": redis})
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_with_writers_in_parallel_no_reader_sees_a_generation_go_back(redis: Redis, seed: int) -> None:
    """Real parallelism: threads with connections of their own, against one reader."""
    from concurrent.futures import ThreadPoolExecutor

    redis.flushall()
    store = LeaseStore(redis, Keys(), ttl_s=900)
    generations = [generation for generation in range(1, 41) for _ in range(3)]
    random.Random(seed).shuffle(generations)
    seen: list[int] = []
    with ThreadPoolExecutor(6) as pool:
        writes = [pool.submit(store.grant, VIM, Lease(generation, f"a{generation}")) for generation in generations]
        while not all(write.done() for write in writes):
            lease = store.read([VIM])[0].lease
            seen.append(lease.generation if lease else 0)
    assert seen == sorted(seen)
    assert store.read([VIM])[0].lease == Lease(40, "a40")
