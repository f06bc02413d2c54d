"""What may befall a world, told step by step: one story for each guard. With the guard it ends well."""

from collections.abc import Callable

from tests.model.parts import KEYS
from tests.model.world import World
from vimmon.messages import call, update_of
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
    update = update_of({**said, "seq": seq, "holder": holder})
    world.redis.rpush(KEYS.requests, call(world.new("r"), update, reply_to=KEYS.replies("hand"), expires_at=None))


def nobody_was_replaced(world: World) -> None:
    """In a story in which every monitor lives to its end."""
    for _, vim_id, reason in world.db.restarts:
        world.violate(f"{vim_id} was watched all the time, and was given another action: {reason}")


def an_old_word_waits_for_a_conductor(world: World) -> None:
    """In the request list, while another action becomes the wanted one, which only the database knows."""
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
    world.redis.delete(KEYS.lease(vim_id))  # or it would not write what Redis has already
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
