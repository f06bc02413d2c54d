"""A list of Tacker's that lacks most VIMs: it is not believed, that is seen, and three times or one word end it."""

import pytest
from redis import Redis

from tests.integration.following import Ground, reported
from tests.support.tacker import Answer
from vimmon.conductor.families import families
from vimmon.conductor.reading import read_redis
from vimmon.errors import TackerUnreachable
from vimmon.mistral.queue import JobQueue
from vimmon.tacker.following import following_of


@pytest.fixture
def emptied(ground: Ground) -> Ground:
    """Four VIMs are watched, and Tacker lists none."""
    for number in range(4):
        ground.tacker.add(f"vim-{number}")
    ground.run()
    ground.tacker.vims.clear()
    return ground


def test_it_changes_nothing_until_it_has_said_so_three_times_whoever_reads_it(
    emptied: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    for times in (1, 2):
        passed = emptied.run()  # each time another process
        assert len(emptied.registry.list()) == 4
        doubt = emptied.said().doubt
        assert doubt is not None
        assert (doubt.times, doubt.out_of, len(doubt.missing), passed.followed) == (times, 4, 4, 4)
    assert "tacker_list_doubted missing=4 of=4 times=1" in caplog.text
    emptied.run()
    assert emptied.registry.list() == []
    assert (emptied.said().doubt, emptied.said().followed) == (None, 0)


def test_the_operator_may_say_that_it_is_right(emptied: Ground) -> None:
    emptied.run(believe=True)
    assert emptied.registry.list() == []


def test_a_pass_that_fails_in_between_neither_counts_nor_makes_forget(emptied: Ground) -> None:
    emptied.run()
    emptied.tacker.wrong = lambda _: Answer(500)
    for _ in range(3):
        with pytest.raises(TackerUnreachable):
            emptied.run()
    emptied.tacker.wrong = lambda _: None
    assert emptied.run().plan.doubt is not None
    assert emptied.run().plan.doubt is None
    assert emptied.registry.list() == []


def test_a_look_does_not_count(emptied: Ground) -> None:
    for _ in range(4):
        assert emptied.sync().look().plan.doubt is not None
    assert emptied.said().doubt is None
    assert len(emptied.sync().look(believe=True).plan.deregister) == 4


def test_nor_is_tacker_told_anything_meanwhile(ground: Ground) -> None:
    ids = [ground.tacker.add(f"vim-{number}") for number in range(4)]
    ground.run()
    ground.bench.vims.record_statuses([reported(ground, ids[0])])
    ground.tacker.hidden = set(ids[1:])
    sync = ground.sync(tacker_give_status=True)
    assert (sync.run_once().given, sync.run_once().given, sync.run_once().given) == (0, 0, 1)


def test_when_the_vims_are_back_all_is_as_it_was(emptied: Ground) -> None:
    before = emptied.registry.list()
    emptied.run()
    for vim in before:
        emptied.tacker.add(vim.name, id=vim.id)
    emptied.run()
    assert (emptied.registry.list(), emptied.said().doubt) == (before, None)


def test_believed_and_back_again_each_has_its_next_generation(emptied: Ground) -> None:
    before = emptied.registry.list()
    emptied.run(believe=True)
    for vim in before:
        emptied.tacker.add(vim.name, id=vim.id)
    emptied.run()
    assert [(vim.id, vim.name, vim.generation) for vim in emptied.registry.list()] == [
        (vim.id, vim.name, 3) for vim in before
    ]


def shown(ground: Ground) -> dict[str, dict[str, float]]:
    """What Prometheus is shown of it, by the value of the label, if there is one."""
    reading = read_redis(ground.redis, ground.bench.keys, JobQueue(ground.redis, name="vimmon"))
    return {
        family.name.removeprefix("vimmon_tacker_"): {
            "".join(sample.labels.values()): sample.value for sample in family.samples
        }
        for family in families(reading, None, {})
        if family.name.startswith("vimmon_tacker_")
    }


def test_what_became_of_it_is_seen_in_the_metrics(ground: Ground) -> None:
    assert all(not series for series in shown(ground).values()), "nobody follows Tacker here"
    ground.tacker.add("other", type="vmware")
    for number in range(4):
        ground.tacker.add(f"vim-{number}")
    ground.run(interval_s=60)
    told = shown(ground)
    assert told["vims"] == {"watched": 4, "not_watched": 1, "missing": 0}
    assert told["changes"] == {"registered": 4, "updated": 0, "deregistered": 0}
    assert (told["interval_seconds"], told["failures"]) == ({"": 60}, {"": 0})
    assert 0 <= told["list_age_seconds"][""] < 30
    ground.tacker.wrong = lambda _: Answer(500)
    for _ in range(2):
        with pytest.raises(TackerUnreachable):
            ground.run()
    assert shown(ground)["failures"] == {"": 2}
    ground.tacker.wrong = lambda _: None
    ground.tacker.vims.clear()
    ground.run()
    assert shown(ground)["vims"]["missing"] == 4
    ground.redis.delete("vimmon:tacker")
    ground.redis.set("vimmon:tacker", "of another type")
    assert shown(ground)["vims"] == {}


def test_what_stands_in_redis_is_read_with_distrust(redis: Redis) -> None:
    said = following_of(
        {b"read_ms": b"oops", b"failed": b"-", b"doubt": b'{"times": 0}', b"error": b'"away"', b"x": b"y"}
    )
    assert (said.read_ms, said.failed, said.doubt, said.error) == (None, 0, None, "away")
