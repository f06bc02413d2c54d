"""Each guard of the protocol, taken out: what breaks then, in the shortest story that shows it. With it, nothing does.

| taken out | what happens |
|---|---|
| action_id in the UPDATE | a paused action's old word is stored over the new one's |
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

from collections.abc import Callable

import pytest

from tests.model.guards import (
    Guard,
    answer_whatever_generation,
    answer_whatever_holder,
    answer_whatever_seq,
    judge_by_the_action_alone,
    refuse_all_others,
)
from tests.model.parts import KEYS
from tests.model.world import World
from vimmon.messages import UpdateVim, call
from vimmon.vim import VimStatus

Story = Callable[[World], None]
WATCHED_S = 5.0  # from its registration a VIM is watched, and its status stored, within this time


def watched(world: World) -> str:
    vim_id = world.register()
    world.run(WATCHED_S)
    assert world.db.rows[vim_id].status is VimStatus.REACHABLE
    return vim_id


def say(world: World, vim_id: str, seq: int, *, holder: str = "anonymous", status: str = "REACHABLE") -> None:
    """What somebody says by hand, as the wanted action."""
    row = world.db.rows[vim_id]
    said = {"vim_id": vim_id, "status": status, "action_id": row.action_id, "generation": row.generation}
    update = UpdateVim.model_validate({**said, "seq": seq, "holder": holder})
    world.redis.rpush(KEYS.requests, call(world.new("r"), update, reply_to=KEYS.replies("hand"), expires_at=None))


def nobody_was_replaced(world: World) -> None:
    """In a story in which every monitor lives to its end."""
    for _, vim_id, reason in world.db.restarts:
        world.violate(f"{vim_id} was watched all the time, and was given another action: {reason}")


# Each story runs twice: without its guard it must end in a violation, with it in none.


def a_paused_executor_wakes(world: World) -> None:
    """Its word waits in the request list while another action is wanted, and with it in the row."""
    vim_id = watched(world)
    for conductor in world.conductors:
        conductor.paused = True
    world.truth[vim_id] = VimStatus.UNREACHABLE
    world.run(40)
    assert world.redis.range(KEYS.requests)
    world.redis.away = True  # so that the cache knows nothing of it
    world.change(vim_id)
    world.run(1)
    world.redis.away = False
    for conductor in world.conductors:
        conductor.paused = False
    world.run(1)


def an_overtaken_word_comes_late(world: World) -> None:
    vim_id = world.register()
    world.run(0.2)
    say(world, vim_id, 2, status="UNREACHABLE")
    world.run(1)
    world.redis.delete(KEYS.status(vim_id))  # or the cache would know
    say(world, vim_id, 1)
    world.run(1)


def mistral_begins_an_action_twice(world: World) -> None:
    world.mistral.copies = 2
    world.register()
    world.run(120)


def a_new_action_says_what_the_old_one_said(world: World) -> None:
    """Both begin with their word number 1, REACHABLE."""
    vim_id = watched(world)
    world.kill(world.holder(vim_id))
    world.run(90)
    assert world.db.rows[vim_id].generation == 2


def a_replica_with_an_older_lease_takes_over(world: World) -> None:
    vim_id = watched(world)
    snapshot = world.redis.snapshot()
    world.change(vim_id)
    world.run(WATCHED_S)
    for reconciler in world.reconcilers:
        reconciler.paused = True  # it would write the lease anew
    world.redis.restart(snapshot)
    world.run(140)


def another_generation_of_the_same_caller(world: World) -> None:
    """Who does not name itself is `anonymous` in every generation."""
    vim_id = world.register()
    world.run(0.2)
    say(world, vim_id, 1)
    world.run(0.1)
    world.change(vim_id)
    world.run(0.1)
    say(world, vim_id, 1)
    world.run(0.1)


def another_holder_repeats_it(world: World) -> None:
    vim_id = world.register()
    world.run(0.2)
    say(world, vim_id, 1, holder="a")
    world.run(0.1)
    say(world, vim_id, 1, holder="b")
    world.run(0.1)


def a_vim_changes(world: World) -> None:
    vim_id = watched(world)
    world.run(60)
    world.truth[vim_id] = VimStatus.UNREACHABLE
    world.settle(600)


def a_conductor_pauses_before_it_writes_the_cache(world: World) -> None:
    vim_id = world.register()
    world.run(0.1)
    (conductor,) = world.conductors
    say(world, vim_id, 1)
    while not world.db.ever_stored:
        world.step(conductor.serving)
    conductor.paused = True
    world.change(vim_id)
    world.run(0.1)
    conductor.paused = False
    world.run(0.1)


def a_conductor_pauses_before_it_acknowledges(world: World) -> None:
    """Another takes a request meanwhile, and has not handled it."""
    vim_id = world.register()
    world.run(0.1)
    first, second = world.conductors
    second.paused = True
    say(world, vim_id, 1)
    while not world.redis.range(KEYS.replies("hand")):
        world.step(first.serving)
    first.paused, second.paused = True, False
    say(world, vim_id, 2)
    while world.redis.range(KEYS.requests):
        world.step(second.serving)
    first.paused = False
    world.step(first.serving)


def an_executor_is_out_of_sight_for_some_seconds(world: World) -> None:
    """Its heartbeat has just expired when a pass comes by, and comes back before the next one."""
    vim_id = watched(world)
    world.run(60)  # the Redis is new: nobody is believed dead
    executor, (reconciler,) = world.holder(vim_id), world.reconcilers
    executor.cut = True
    while world.redis.exists(KEYS.executor(executor.name)) or vim_id not in reconciler.memory.missing:
        world.run(0.5)
        if world.db.restarts:
            break
    executor.cut = False
    world.run(60)
    nobody_was_replaced(world)


def redis_is_flushed_and_executors_come_back_late(world: World) -> None:
    vim_id = watched(world)
    world.run(60)
    executor = world.holder(vim_id)
    executor.cut = True
    world.redis.flush()
    world.run(25)
    executor.cut = False
    world.run(60)
    nobody_was_replaced(world)


def mistral_takes_its_time(world: World) -> None:
    world.mistral.delay_s = 70.0
    vim_id = world.register()
    world.run(3600)
    if world.db.rows[vim_id].generation > 5:
        world.violate(f"after an hour it is generation {world.db.rows[vim_id].generation} that is about to begin")


def nobody_was_seen_watching_while_nothing_changed(world: World) -> None:
    """Redis is flushed again and again, so nobody is believed dead; the executor is cut off, and the VIM UNKNOWN."""
    vim_id = watched(world)
    world.run(60)
    executor = world.holder(vim_id)
    executor.cut = True
    while world.db.rows[vim_id].status is not VimStatus.UNKNOWN:
        world.redis.flush()
        world.run(20)
    executor.cut = False
    world.settle(600)


STORIES: list[tuple[Guard, Story, int]] = [
    (Guard.ACTION_ID_IN_UPDATE, a_paused_executor_wakes, 2),
    (Guard.SEQ_IN_UPDATE, an_overtaken_word_comes_late, 2),
    (Guard.HOLDER_IN_UPDATE, mistral_begins_an_action_twice, 2),
    (Guard.SEQ_0_AT_A_NEW_GENERATION, a_new_action_says_what_the_old_one_said, 2),
    (Guard.GENERATION_AT_EXIT, a_replica_with_an_older_lease_takes_over, 2),
    (Guard.REFUSING_ONLY_LOWER, a_replica_with_an_older_lease_takes_over, 2),
    (Guard.CACHED_GENERATION, another_generation_of_the_same_caller, 2),
    (Guard.CACHED_HOLDER, another_holder_repeats_it, 2),
    (Guard.CACHED_SEQ, a_vim_changes, 2),
    (Guard.COMPARE_AND_SET, a_conductor_pauses_before_it_writes_the_cache, 1),
    (Guard.UNIQUE_TAKEN_LISTS, a_conductor_pauses_before_it_acknowledges, 2),
    (Guard.TWO_PASS_VERDICT, an_executor_is_out_of_sight_for_some_seconds, 2),
    (Guard.EPOCH_WAIT, redis_is_flushed_and_executors_come_back_late, 2),
    (Guard.GROWING_GRACE, mistral_takes_its_time, 2),
    (Guard.SAYING_AGAIN, nobody_was_seen_watching_while_nothing_changed, 2),
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
