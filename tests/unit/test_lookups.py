"""The threads that look names up: no more than there is work for, none that nobody needs any more, and none refused."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.polling import eventually, until
from vimmon.actions.probing import lookups
from vimmon.actions.probing.lookups import Lookups, _Lane

FOUND: list[tuple[Any, ...]] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]


class Names:
    """Each name is found at once, but for one that hangs until it is released."""

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.released = threading.Event()

    def getaddrinfo(self, host: bytes, _: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        if host.startswith(b"hangs"):
            self.released.wait(30)
        return FOUND

    def finish(self, name: str, _: object) -> None:
        self.finished.append(name)

    def lookups(self, threads: int) -> Lookups:
        return Lookups(self.getaddrinfo, threads, self.finish)


@pytest.fixture
def names() -> Iterator[Names]:
    names = Names()
    yield names
    names.released.set()


def workers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "vimmon-resolver"]


async def looked_up(looking: Lookups, names: Names, name: str) -> None:
    looking.look_up(name)
    await eventually(lambda: name in names.finished)


@contextmanager
def timers_of(looking: Lookups) -> Iterator[list[tuple[Any, ...]]]:
    """Those that it sets inside, which never come."""
    later: list[tuple[Any, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looking, "_loop", type("Loop", (), {"call_later": lambda _, *said: later.append(said)})())
        yield later


async def test_one_name_after_the_other_takes_one_thread_that_does_not_keep_the_process(names: Names) -> None:
    before, looking = workers(), names.lookups(8)
    for name in ("a", "b", "c"):
        await looked_up(looking, names, name)
    [thread] = [each for each in workers() if each not in before]
    assert thread.daemon
    looking.close()
    await eventually(lambda: not thread.is_alive())


async def test_nobody_looks_after_a_name_that_is_found(names: Names) -> None:
    looking = names.lookups(1)
    await looked_up(looking, names, "a")
    with timers_of(looking) as later:
        looking._look_after(looking._quick, "a")
    assert later == []
    looking.close()


def hang(looking: Lookups, name: str, lane: _Lane) -> None:
    """As if it had begun long ago."""
    looking.look_up(name)
    until(lambda: name in looking._began)
    looking._began[name] -= lookups.SLOW_S
    looking._look_after(lane, name)


async def test_the_thread_of_a_name_that_hangs_is_replaced_only_while_another_waits(names: Names) -> None:
    looking = names.lookups(1)
    hang(looking, "hangs", looking._quick)
    assert looking._quick.threads == 0, "there is nothing to do"
    looking.look_up("hangs too")
    looking.look_up("a")
    until(lambda: "hangs too" in looking._began)
    looking._began["hangs too"] -= lookups.SLOW_S
    looking._look_after(looking._quick, "hangs too")
    assert looking._quick.threads == 1
    await eventually(lambda: names.finished == ["a"])
    names.released.set()
    await eventually(lambda: len(names.finished) == 3)
    await looked_up(looking, names, "b")
    looking.close()


async def test_a_name_that_got_its_thread_late_is_looked_after_when_its_own_time_is_over(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "SLOW_S", 60.0)
    looking = names.lookups(1)
    with timers_of(looking) as later:
        looking.look_up("hangs")
        until(lambda: "hangs" in looking._began)
        looking._began["hangs"] -= 50.0
        looking._look_after(looking._quick, "hangs")
    [(at_first_s, *_), (left_s, *_)] = later
    assert at_first_s == 60.0
    assert left_s == pytest.approx(10.0, abs=5.0)
    looking.close()


async def test_a_name_that_hangs_while_too_many_are_stuck_is_looked_after_again(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "STUCK_MAX", 0)
    looking = names.lookups(1)
    with timers_of(looking) as later:
        hang(looking, "hangs", looking._quick)
    assert [after_s for after_s, *_ in later] == [lookups.SLOW_S] * 2
    assert looking._quick.threads == 1
    looking.close()


async def test_a_name_that_hangs_apart_from_the_others_is_looked_up_apart_again(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "SLOW_S", 0.0)  # none is quick
    looking = names.lookups(1)
    looking._finish(looking._quick, "a", FOUND, True)
    names.finished.clear()
    await looked_up(looking, names, "a")
    assert (looking._quick.threads, looking._slow.threads) == (0, 1)
    assert list(looking._hangs) == ["a"]
    looking.close()


async def test_without_another_thread_those_that_there_are_will_do(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, wrong = names.lookups(2), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
    looking.look_up("hangs")

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    looking.look_up("a")
    assert looking._quick.threads == 1
    until(lambda: "hangs" in looking._began)
    looking._began["hangs"] -= lookups.SLOW_S
    looking._look_after(looking._quick, "hangs")  # its thread cannot be replaced
    assert looking._quick.threads == 0
    monkeypatch.undo()
    await looked_up(looking, names, "b")
    await eventually(lambda: "a" in names.finished)
    assert wrong == []
    looking.close()


async def test_no_more_names_that_hang_are_remembered_than_allowed_and_the_latest_are(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "HANGS_MAX", 2)
    looking = names.lookups(1)
    for name in ("a", "b", "a", "c"):
        looking._finish(looking._quick, name, FOUND, True)
    assert list(looking._hangs) == ["a", "c"]
    looking._finish(looking._slow, "c", FOUND, False)
    assert list(looking._hangs) == ["a"]


def test_a_name_that_is_found_when_nobody_waits_any_more_is_no_error(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    before = workers()

    async def begin() -> None:
        looking = names.lookups(1)
        looking.look_up("hangs")
        looking.close()

    asyncio.run(begin())
    names.released.set()
    until(lambda: set(workers()) <= set(before))
    assert errors == []
