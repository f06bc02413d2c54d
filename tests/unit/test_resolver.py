"""How names become addresses: from memory, once per name, and never by blocking anybody else."""

import asyncio
import errno
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.descriptors import no_more_files
from tests.support.polling import eventually
from vimmon.actions.probing import lookups
from vimmon.actions.probing import resolver as resolving
from vimmon.actions.probing.lookups import SLOW_S
from vimmon.actions.probing.reasons import Trouble
from vimmon.actions.probing.resolver import Address, Resolver, bind_address, literal_in
from vimmon.vim import VimStatus

NOT_FOUND = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
SERVERS_FAIL = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class Names:
    """A name service in a test's hands: what it answers, how often it was asked, and whether it hangs."""

    def __init__(self) -> None:
        self.answers: dict[str, list[str] | Exception] = {}
        self.asked: list[str] = []
        self.running = threading.Event()
        self.running.set()
        self.now = 0.0

    def getaddrinfo(self, host: bytes, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        name = host.decode()
        self.asked.append(name)
        self.running.wait(30)
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return [_info(ip) for ip in answer]

    def clock(self) -> float:
        return self.now


def _info(ip: str) -> tuple[Any, ...]:
    if ":" in ip:
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (ip, 0, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)


@pytest.fixture
def names() -> Iterator[Names]:
    names = Names()
    yield names
    names.running.set()


@pytest.fixture
async def resolver(names: Names) -> AsyncIterator[Resolver]:
    resolver = Resolver(ttl_s=60, retry_s=2, threads=2, getaddrinfo=names.getaddrinfo, clock=names.clock)
    yield resolver
    resolver.close()


async def ips(resolver: Resolver, host: str, timeout_s: float = 5) -> list[str]:
    return [address.sockaddr[0] for address in await resolver.addresses(host, 5000, timeout_s)]


async def quiet(resolver: Resolver) -> None:
    async with asyncio.timeout(5):
        while resolver.looking_up:  # noqa: ASYNC110 - a turn of the loop, not a wait
            await asyncio.sleep(0)


async def test_a_name_is_answered_with_the_port_that_was_asked_for(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = ["192.0.2.1", "2001:db8::1"]
    found = await resolver.addresses("k", 5000, 5)
    assert [(each.family, each.sockaddr) for each in found] == [
        (socket.AF_INET, ("192.0.2.1", 5000)),
        (socket.AF_INET6, ("2001:db8::1", 5000, 0, 0)),
    ]


async def test_families_take_turns_beginning_with_the_preferred_one_and_doubles_go(
    names: Names, resolver: Resolver
) -> None:
    names.answers["k"] = ["2001:db8::1", "2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert await ips(resolver, "k") == [
        "2001:db8::1",
        "192.0.2.1",
        "2001:db8::2",
        "192.0.2.2",
        "192.0.2.3",
    ]


async def test_a_name_with_very_many_addresses_is_cut_short(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = [f"192.0.2.{i}" for i in range(200)]
    assert await ips(resolver, "k") == [f"192.0.2.{i}" for i in range(100)]


@pytest.mark.parametrize(
    ("host", "sockaddr"),
    [
        ("192.0.2.1", ("192.0.2.1", 5000)),
        ("2001:db8::1", ("2001:db8::1", 5000, 0, 0)),
        ("2001:DB8:0::0:1", ("2001:db8::1", 5000, 0, 0)),
        ("fe80::1%lo", ("fe80::1", 5000, 0, socket.if_nametoindex("lo"))),
        ("fe80::1%7", ("fe80::1", 5000, 0, 7)),
    ],
)
async def test_an_ip_address_is_its_own_answer(
    names: Names, resolver: Resolver, host: str, sockaddr: tuple[Any, ...]
) -> None:
    found = await resolver.addresses(host, 5000, 5)
    assert [each.sockaddr for each in found] == [sockaddr]
    assert names.asked == []


async def test_a_zone_that_this_host_lacks_is_this_hosts_trouble(resolver: Resolver) -> None:
    await expect(resolver, "fe80::1%nosuch0", VimStatus.UNKNOWN, "cannot probe: this host has no network interface")


async def test_a_name_is_asked_for_again_only_when_its_time_is_over(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = ["192.0.2.1"]
    await ips(resolver, "k")
    names.now = 59.9
    await ips(resolver, "k")
    await quiet(resolver)
    assert names.asked == ["k"]
    names.now = 60
    await ips(resolver, "k")
    await quiet(resolver)
    assert names.asked == ["k", "k"]


async def test_a_known_name_is_answered_at_once_while_it_is_looked_up_again(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = ["192.0.2.1"]
    await ips(resolver, "k")
    names.now = 60
    names.answers["k"] = ["192.0.2.2"]
    names.running.clear()
    assert await ips(resolver, "k") == ["192.0.2.1"]
    names.running.set()
    await quiet(resolver)
    assert await ips(resolver, "k") == ["192.0.2.2"]


async def test_the_last_good_address_stays_in_use_while_the_name_servers_fail(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = ["192.0.2.1"]
    await ips(resolver, "k")
    names.answers["k"] = SERVERS_FAIL
    for now in (60, 120, 3600):
        names.now = now
        assert await ips(resolver, "k") == ["192.0.2.1"]
        await quiet(resolver)
    assert len(names.asked) == 4
    names.answers["k"] = ["192.0.2.2"]
    names.now += 2
    await ips(resolver, "k")
    await quiet(resolver)
    assert await ips(resolver, "k") == ["192.0.2.2"]


async def test_a_name_that_was_removed_is_not_found_any_more(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = ["192.0.2.1"]
    await ips(resolver, "k")
    names.answers["k"] = NOT_FOUND
    names.now = 60
    await ips(resolver, "k")
    await quiet(resolver)
    await expect(resolver, "k", VimStatus.UNREACHABLE, "name not found")


async def test_a_name_that_is_not_found_is_asked_for_again_after_the_retry_time(
    names: Names, resolver: Resolver
) -> None:
    names.answers["k"] = NOT_FOUND
    await expect(resolver, "k", VimStatus.UNREACHABLE, "name not found")
    names.answers["k"] = ["192.0.2.1"]
    await expect(resolver, "k", VimStatus.UNREACHABLE, "name not found")
    assert names.asked == ["k"]
    names.now = 2
    assert await ips(resolver, "k") == ["192.0.2.1"]


async def test_a_name_without_any_address_is_not_found(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = []
    await expect(resolver, "k", VimStatus.UNREACHABLE, "name not found")


async def test_failing_name_servers_say_nothing_about_the_vim(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = SERVERS_FAIL
    await expect(resolver, "k", VimStatus.UNKNOWN, "cannot probe: the name servers do not answer, or fail")


async def test_the_wait_for_a_hanging_lookup_ends_in_time(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = ["192.0.2.1"]
    names.running.clear()
    reason = "cannot probe: no answer from the name servers within 0.05 s"
    async with asyncio.timeout(1):
        await expect(resolver, "k", VimStatus.UNKNOWN, reason, timeout_s=0.05)
    names.running.set()
    assert await ips(resolver, "k") == ["192.0.2.1"]
    assert names.asked == ["k"]


async def test_probes_that_wait_for_one_name_share_one_lookup(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = ["192.0.2.1"]
    names.running.clear()
    waiting = [asyncio.create_task(ips(resolver, "k")) for _ in range(10)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    names.running.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [["192.0.2.1"]] * 9
    assert names.asked == ["k"]


async def test_a_hanging_name_does_not_hold_up_another(names: Names) -> None:
    names.answers["slow"] = names.answers["quick"] = ["192.0.2.1"]
    held = threading.Event()

    def getaddrinfo(host: bytes, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        if host == b"slow":
            held.wait(5)
        return names.getaddrinfo(host, port, type=type)

    resolver = Resolver(threads=2, getaddrinfo=getaddrinfo)
    slow = asyncio.create_task(ips(resolver, "slow"))
    await asyncio.sleep(0)
    assert await ips(resolver, "quick") == ["192.0.2.1"]
    assert not slow.done()
    held.set()
    assert await slow == ["192.0.2.1"]
    resolver.close()


async def test_names_that_hang_do_not_keep_a_new_one_waiting_for_as_long_as_they_hang(names: Names) -> None:
    names.answers["new"] = names.answers["newer"] = ["192.0.2.1"]
    held = threading.Event()

    def getaddrinfo(host: bytes, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        if host.startswith(b"dead"):
            held.wait(60)
            raise SERVERS_FAIL
        return names.getaddrinfo(host, port, type=type)

    before = set(threading.enumerate())
    resolver = Resolver(threads=2, retry_s=0, getaddrinfo=getaddrinfo)
    dead = [asyncio.create_task(ips(resolver, f"dead-{number}", 60)) for number in range(6)]
    await asyncio.sleep(0)
    assert await ips(resolver, "new", 20) == ["192.0.2.1"]
    assert not any(task.done() for task in dead)
    held.set()
    for found in await asyncio.gather(*dead, return_exceptions=True):
        assert isinstance(found, Trouble)
    held.clear()
    again = [asyncio.create_task(ips(resolver, f"dead-{number}", 60)) for number in range(6)]
    await asyncio.sleep(0)
    async with asyncio.timeout(SLOW_S):
        assert await ips(resolver, "newer") == ["192.0.2.1"], "they are known to hang, and take no thread of others"
    held.set()
    await asyncio.gather(*again, return_exceptions=True)
    resolver.close()
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()


async def test_names_that_hang_take_no_more_threads_than_allowed_and_all_are_looked_up_in_the_end(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound, value in (("SLOW_S", 0.01), ("STUCK_MAX", 3), ("SLOW_THREADS", 2)):
        monkeypatch.setattr(lookups, bound, value)
    dead = [f"dead-{number}" for number in range(12)]
    names.answers.update((name, ["192.0.2.1"]) for name in dead)
    resolver = Resolver(threads=2, ttl_s=0, getaddrinfo=names.getaddrinfo)
    looking = resolver._lookups

    async def hang(asked: list[str], at_once: int) -> None:
        names.running.clear()
        asking = [resolver._look_up(name) for name in asked]
        assert len(asking) > at_once
        await eventually(lambda: len(looking._began) == at_once)
        await asyncio.sleep(0.2)  # time for more, if there were no bounds
        assert len(looking._began) == at_once
        names.running.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*asking)

    await hang(dead, 2 + 3)
    await hang(list(looking._hangs), 2)  # now apart from the others
    async with asyncio.timeout(5):
        await asyncio.gather(*(resolver._look_up(name) for name in dead))
    assert not resolver._lookups._hangs, "they are quick again"
    resolver.close()


async def test_without_a_thread_nothing_can_be_said_of_the_vim(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    await expect(resolver, "k", VimStatus.UNKNOWN, "cannot probe: no thread can be started to look names up")
    assert resolver.looking_up == 0


async def test_not_found_is_not_believed_without_a_free_descriptor(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = NOT_FOUND
    with no_more_files():
        await expect(resolver, "k", VimStatus.UNKNOWN, "cannot probe: too many open files in this process")


async def test_a_bug_in_a_lookup_escapes_to_the_probe(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await ips(resolver, "k")
    names.answers["k"] = ["192.0.2.1"]
    assert await ips(resolver, "k") == ["192.0.2.1"]


async def test_closing_ends_the_threads(names: Names) -> None:
    names.answers["k"] = ["192.0.2.1"]
    resolver = Resolver(getaddrinfo=names.getaddrinfo)
    before = set(threading.enumerate())
    await ips(resolver, "k")
    ours = list(set(threading.enumerate()) - before)
    assert len(ours) == 1
    resolver.close()
    ours[0].join(5)
    assert not ours[0].is_alive()


async def test_the_number_of_a_zone_is_kept_of_what_is_looked_up_and_other_families_are_not() -> None:
    def found(host: bytes, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        return [(socket.AF_UNIX, type, 0, "", "/odd"), (socket.AF_INET6, type, 6, "", ("fe80::1", 0, 0, 7))]

    resolver = Resolver(getaddrinfo=found)
    assert [each.sockaddr for each in await resolver.addresses("k", 5000, 5)] == [("fe80::1", 5000, 0, 7)]
    resolver.close()


def test_the_systems_own_lookup_gives_a_zone_by_its_number_alone() -> None:
    [found] = socket.getaddrinfo(b"fe80::1%lo", None, type=socket.SOCK_STREAM)
    assert found[4] == ("fe80::1", 0, 0, socket.if_nametoindex("lo"))


@pytest.mark.parametrize("number", sorted({socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY}))
async def test_a_name_server_that_knows_no_address_says_not_found(
    names: Names, resolver: Resolver, number: int
) -> None:
    names.answers["k"] = socket.gaierror(number, "in the system's words")
    await expect(resolver, "k", VimStatus.UNREACHABLE, "name not found")


async def test_what_the_system_lacks_for_a_lookup_is_told(names: Names, resolver: Resolver) -> None:
    names.answers["k"] = OSError(errno.EMFILE, "Too many open files")  # how getaddrinfo's EAI_SYSTEM is raised
    await expect(resolver, "k", VimStatus.UNKNOWN, "cannot probe: too many open files in this process")


async def test_a_name_that_was_not_found_is_not_known_any_better_while_the_name_servers_fail(
    names: Names, resolver: Resolver
) -> None:
    names.answers["k"] = NOT_FOUND
    await expect(resolver, "k", VimStatus.UNREACHABLE, "name not found")
    names.answers["k"] = SERVERS_FAIL
    names.now = 2
    await expect(resolver, "k", VimStatus.UNKNOWN, "cannot probe: the name servers do not answer, or fail")


async def test_only_a_name_that_was_found_is_known(names: Names, resolver: Resolver) -> None:
    assert resolver.known("k", 5000) is None
    names.answers["k"] = NOT_FOUND
    await expect(resolver, "k", VimStatus.UNREACHABLE, "name not found")
    assert resolver.known("k", 5000) is None
    names.answers["k"] = ["192.0.2.1"]
    names.now = 2
    await ips(resolver, "k")
    assert resolver.known("k", 5000) == ([Address(socket.AF_INET, ("192.0.2.1", 5000))], 62)


async def test_no_more_names_are_kept_than_allowed_and_the_latest_are(
    names: Names, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolving, "NAMES_MAX", 2)
    names.answers.update((name, ["192.0.2.1"]) for name in "abc")
    for now, name in ((0, "a"), (0, "b"), (60, "a"), (60, "c")):
        names.now = now
        await ips(resolver, name)
        await quiet(resolver)
    assert list(resolver._known) == ["a", "c"]


@pytest.mark.parametrize("answer", [["192.0.2.1"], ZeroDivisionError()])
async def test_closing_ends_the_waiting_for_a_name_and_what_comes_later_is_no_error(
    names: Names, answer: list[str] | Exception
) -> None:
    loop, wrong = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: wrong.append(context))
    resolver = Resolver(getaddrinfo=names.getaddrinfo)
    names.answers["k"] = answer
    names.running.clear()
    waiting = asyncio.ensure_future(ips(resolver, "k", 60))
    await eventually(lambda: names.asked)
    resolver.close()
    await asyncio.wait([waiting], timeout=5)
    assert waiting.cancelled()
    names.running.set()
    await quiet(resolver)
    assert wrong == []


@pytest.mark.parametrize(
    ("family", "sockaddr", "text"),
    [
        (socket.AF_INET, ("192.0.2.1", 80), "192.0.2.1:80"),
        (socket.AF_INET6, ("2001:db8::1", 80, 0, 0), "[2001:db8::1]:80"),
        (socket.AF_INET6, ("fe80::1", 80, 0, 7), "[fe80::1%7]:80"),
    ],
)
def test_an_address_is_written_as_in_a_url(family: socket.AddressFamily, sockaddr: Any, text: str) -> None:
    assert str(Address(family, sockaddr)) == text


def test_a_source_address_is_bound_to_a_port_of_the_systems_choice() -> None:
    assert bind_address("192.0.2.1") == Address(socket.AF_INET, ("192.0.2.1", 0))
    with pytest.raises(ValueError, match=r"not an address: 'vim\.test'"):
        bind_address("vim.test")


def test_the_address_in_an_auth_url_is_remembered_unless_it_has_a_zone() -> None:
    assert literal_in("http://192.0.2.1:80") == (Address(socket.AF_INET, ("192.0.2.1", 80)),)
    assert literal_in("http://[fe80::1%25lo]:80") is None, "its number may change"
    assert literal_in("http://vim.test:80") is None


async def expect(resolver: Resolver, host: str, status: VimStatus, reason: str, timeout_s: float = 5) -> None:
    with pytest.raises(Trouble) as caught:
        await resolver.addresses(host, 5000, timeout_s)
    assert caught.value.outcome.status == status
    assert caught.value.outcome.reason.startswith(reason)
