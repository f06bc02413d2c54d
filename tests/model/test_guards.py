"""Each guard of the protocol, taken out: what breaks then, in the shortest story that shows it. With it, nothing does.

| taken out | what happens |
|---|---|
| action_id in the UPDATE | a word that waited is stored, though another action is wanted by now |
| seq in the UPDATE | a word that was overtaken is stored after the newer one |
| holder in the UPDATE | two copies of one action both have statuses stored |
| seq 0 at a new generation | a new action is told "known" of what was never stored |
| generation compared at exit | the wanted action exits after a failover to an older lease |
| refusing from the cache only lower generations | the same, by way of `bad_action` |
| a cached answer tied to the generation | somebody is told "known" of what was never stored |
| a cached answer tied to the holder | the same |
| a cached answer tied to the seq | a change is lost |
| compare-and-set of leases | a paused conductor sets a lease back |
| unique taken-lists | a request is deleted that nobody has handled |
| two-pass verdict | a monitor is replaced that was out of sight for some seconds |
| epoch wait | monitors are replaced after a flush, when executors come back late |
| growing start grace | where actions begin after 70 s, each is given up before it begins, for ever |
| saying an overwritten status again | UNKNOWN stays for ever over a monitor that sees its VIM |
"""

import pytest

from tests.model import stories
from tests.model.guards import (
    Guard,
    answer_whatever_generation,
    answer_whatever_holder,
    answer_whatever_seq,
    judge_by_the_action_alone,
    refuse_all_others,
)
from tests.model.stories import Story
from tests.model.world import World

STORIES: list[tuple[Guard, Story, int]] = [
    (Guard.ACTION_ID_IN_UPDATE, stories.an_old_word_waits_for_a_conductor, 2),
    (Guard.SEQ_IN_UPDATE, stories.an_overtaken_word_comes_late, 2),
    (Guard.HOLDER_IN_UPDATE, stories.mistral_begins_an_action_twice, 2),
    (Guard.SEQ_0_AT_A_NEW_GENERATION, stories.a_new_action_says_what_the_old_one_said, 2),
    (Guard.GENERATION_AT_EXIT, stories.a_replica_with_an_older_lease_takes_over, 2),
    (Guard.REFUSING_ONLY_LOWER, stories.a_replica_with_an_older_lease_takes_over, 2),
    (Guard.CACHED_GENERATION, stories.another_generation_of_the_same_caller, 2),
    (Guard.CACHED_HOLDER, stories.another_holder_repeats_it, 2),
    (Guard.CACHED_SEQ, stories.a_vim_changes, 2),
    (Guard.COMPARE_AND_SET, stories.a_conductor_pauses_before_it_writes_the_cache, 1),
    (Guard.UNIQUE_TAKEN_LISTS, stories.a_conductor_pauses_before_it_acknowledges, 2),
    (Guard.TWO_PASS_VERDICT, stories.an_executor_is_out_of_sight_for_some_seconds, 2),
    (Guard.EPOCH_WAIT, stories.redis_is_flushed_and_executors_come_back_late, 2),
    (Guard.GROWING_GRACE, stories.mistral_takes_its_time, 2),
    (Guard.SAYING_AGAIN, stories.nobody_was_seen_watching_while_nothing_changed, 2),
]
ANSWER_FROM_CACHE = "vimmon.conductor.methods.answer_from_cache"
DECISIONS: dict[Guard, tuple[str, object]] = {
    Guard.GENERATION_AT_EXIT: ("vimmon.actions.monitor.judge", judge_by_the_action_alone),
    Guard.REFUSING_ONLY_LOWER: (ANSWER_FROM_CACHE, refuse_all_others),
    Guard.CACHED_GENERATION: (ANSWER_FROM_CACHE, answer_whatever_generation),
    Guard.CACHED_HOLDER: (ANSWER_FROM_CACHE, answer_whatever_holder),
    Guard.CACHED_SEQ: (ANSWER_FROM_CACHE, answer_whatever_seq),
}
EXPECTED = {
    Guard.ACTION_ID_IN_UPDATE: "was wanted",
    Guard.SEQ_IN_UPDATE: "stored after its word",
    Guard.HOLDER_IN_UPDATE: "had statuses stored from",
    Guard.SEQ_0_AT_A_NEW_GENERATION: "never stored",
    Guard.GENERATION_AT_EXIT: "exits: lease",
    Guard.REFUSING_ONLY_LOWER: "exits: bad_action",
    Guard.CACHED_GENERATION: "never stored",
    Guard.CACHED_HOLDER: "never stored",
    Guard.CACHED_SEQ: "its row REACHABLE",
    Guard.COMPARE_AND_SET: "went backwards",
    Guard.UNIQUE_TAKEN_LISTS: "had not handled",
    Guard.TWO_PASS_VERDICT: "watched all the time",
    Guard.EPOCH_WAIT: "watched all the time",
    Guard.GROWING_GRACE: "is about to begin",
    Guard.SAYING_AGAIN: "its row UNKNOWN",
}


@pytest.mark.parametrize(("guard", "story", "conductors"), STORIES, ids=[guard for guard, _, _ in STORIES])
def test_without_the_guard_a_goal_is_missed(
    guard: Guard, story: Story, conductors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if guard in DECISIONS:
        monkeypatch.setattr(*DECISIONS[guard])
        monkeypatch.setattr("vimmon.conductor.methods.is_news", lambda *_: False)  # it has the guards as well
    world = World(frozenset({guard}), conductors=conductors)
    story(world)
    assert any(EXPECTED[guard] in why for why in world.violations), "\n".join([*world.log, *world.violations])


@pytest.mark.parametrize(("guard", "story", "conductors"), STORIES, ids=[guard for guard, _, _ in STORIES])
def test_with_the_guard_none_is(guard: Guard, story: Story, conductors: int) -> None:
    world = World(conductors=conductors)
    story(world)
    world.settle()
    assert not world.violations, "\n".join([*world.log, *world.violations])


def test_there_is_a_story_for_every_guard() -> None:
    assert {guard for guard, _, _ in STORIES} == set(Guard) == set(EXPECTED)
