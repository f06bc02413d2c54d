"""Which lane a TLS handshake runs in: that of the slow ones is for whoever takes long, and for nobody else."""

import asyncio

import pytest

from tests.support.polling import eventually
from vimmon.actions.probing import handshakes
from vimmon.actions.probing.handshakes import Handshakes, HandshakeTurn


def taken(turns: Handshakes, server: str, count: int) -> list[HandshakeTurn]:
    found = [turns.turn(server) for _ in range(count)]
    assert all(turn.take_now() for turn in found)
    return found


async def test_each_slow_turn_that_is_given_back_goes_to_another_that_keeps_a_quick_one() -> None:
    turns = Handshakes(2)
    turns.learn("slow", was_quick=False)
    slow, quick = taken(turns, "slow", 8), taken(turns, "new", 2)
    for turn in (*slow, *quick):
        turn.__enter__()
    for turn in quick:
        turn._make_room()
    assert (turns.quick.running, len(turns.moving)) == (2, 2)
    for turn, quick_left in zip(slow, (1, 0), strict=False):
        turn.__exit__()
        assert (turns.quick.running, turns.slow.running) == (quick_left, 8)
    assert not turns.moving
    slow[2].__exit__()
    assert turns.slow.running == 7
    for turn in (*slow[3:], *quick):
        turn.__exit__()
    assert turns.running == 0


async def test_one_that_is_slow_already_takes_no_place_in_the_queue_of_those_that_keep_a_quick_turn() -> None:
    turns = Handshakes(1)
    turns.learn("slow", was_quick=False)
    slow = taken(turns, "slow", 4)
    with slow[0]:
        slow[0]._make_room()
        assert not turns.moving
        assert turns.slow.running == 4
    with slow[1]:
        slow[1]._make_room()  # now that there is room
        assert turns.slow.running == 3


async def test_a_server_whose_handshake_was_quick_begins_among_the_quick_ones() -> None:
    turns = Handshakes(1)
    turns.learn("was slow", was_quick=False)
    for _ in range(2):
        for server in ("was slow", "new"):
            turn = turns.turn(server)
            assert turn.take_now()
            with turn:
                pass
        assert turns._slow_servers == {}


async def test_no_more_slow_servers_are_remembered_than_allowed_and_the_latest_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshakes, "SERVERS_MAX", 2)
    turns = Handshakes(1)
    for server in ("a", "b", "a", "c"):
        turns.learn(server, was_quick=False)
    assert list(turns._slow_servers) == ["a", "c"]


async def test_those_that_wait_for_either_lane_are_counted() -> None:
    turns = Handshakes(1)
    turns.learn("slow", was_quick=False)
    slow, quick = taken(turns, "slow", 4), taken(turns, "new", 1)
    waiting = [turns.turn(server).take() for server in ("slow", "slow", "new")]
    for each in waiting:
        each.send(None)  # up to where it waits
    assert (turns.running, turns.waiting) == (5, 3)
    for each in waiting:
        each.close()
    assert len(slow) + len(quick) == 5


async def test_a_server_whose_last_handshake_was_slow_begins_among_the_slow_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshakes, "QUICK_S", 0.01)
    turns = Handshakes(1)
    for was_quick, lane in ((False, turns.slow), (True, turns.quick)):
        turns.learn("https://vim.test", was_quick=was_quick)
        turn = turns.turn("https://vim.test")
        assert turn.take_now()
        assert lane.running == turns.running == 1
        with turn:
            pass
        await asyncio.sleep(0.02)  # when it would have moved, had it not ended
        assert (turns.quick.running, turns.slow.running) == (0, 0)


async def test_a_slow_turn_goes_first_to_whoever_keeps_a_quick_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "QUICK_S", 0.01)
    turns = Handshakes(1)
    turns.learn("slow", was_quick=False)
    running = [turns.turn("slow") for _ in range(4)]
    assert all(turn.take_now() for turn in running)
    known = asyncio.create_task(turns.turn("slow").take())
    keeps, gone = turns.turn("new"), turns.turn("new")
    for turn in (gone, keeps):  # the first has ended before it could move
        assert turn.take_now()
        with turn:
            await eventually(lambda: turns.moving)
            if turn is keeps:
                with running.pop():
                    pass
                assert (turns.quick.running, turns.slow.running, known.done()) == (0, 4, False)
        assert turns.quick.running == 0
    await known
    assert turns.slow.running == 4
