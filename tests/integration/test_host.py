"""All monitors of an executor, on a real Redis, with a real conductor and database where its answer matters."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from re import match
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from redis import Redis

from tests.integration.hosting import (
    DOWN,
    HELD,
    KEYS,
    ME,
    UP,
    Conductor,
    ScriptedProber,
    assigned,
    assignment_of,
    calls_of,
    conducting,
    hosting,
    of,
    text_of,
    watched,
)
from tests.support.polling import eventually
from vimmon.actions.host import Host
from vimmon.actions.monitor import Monitor
from vimmon.actions.probing import Prober
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease, parse_status
from vimmon.probes import IcmpProbe, Outcome
from vimmon.vim import Vim, VimStatus

# From a row to its status


async def test_a_vim_becomes_reachable_and_unreachable_in_the_database(
    redis_server: RedisServer, conductor: Conductor, redis: Redis
) -> None:
    endpoint = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = endpoint.sockets[0].getsockname()[1]
    vim = conductor.register(f"http://127.0.0.1:{port}")
    async with Prober() as prober, hosting(redis_server.url, prober) as host:
        host.take_on(assignment_of(vim))
        await conductor.says(vim, VimStatus.REACHABLE)
        endpoint.close()
        await endpoint.wait_closed()
        await conductor.says(vim, VimStatus.UNREACHABLE)
        assert conductor.row(vim)[1] == "connection refused"
        endpoint = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
        await conductor.says(vim, VimStatus.REACHABLE)
        endpoint.close()
        await endpoint.wait_closed()


async def test_what_it_watches_stands_in_its_held_list(host: Host, conductor: Conductor, redis: Redis) -> None:
    vim = await watched(host, conductor)
    await eventually(lambda: redis.hget(HELD, vim.id) == str(Lease(1, vim.action_id)).encode())
    await eventually(lambda: redis.hexists(f"vimmon:executor:{ME}:seen", vim.id))


# Who leaves, and who stays


@pytest.mark.parametrize("lease", ["2:another", "2:-", "1:-"])
async def test_a_newer_lease_ends_a_monitor_at_its_next_check(
    host: Host, conductor: Conductor, redis: Redis, lease: str, prober: ScriptedProber
) -> None:
    vim = await watched(host, conductor)
    await eventually(lambda: redis.hexists(HELD, vim.id))
    pipeline = redis.pipeline(transaction=True)
    pipeline.set(KEYS.lease(vim.id), lease)
    pipeline.config_resetstat()
    pipeline.execute()
    await eventually(lambda: not host.held)
    assert calls_of(redis, "mget") <= 2  # its own check, and perhaps one call that the conductor still had
    await eventually(lambda: not redis.hexists(HELD, vim.id))
    await eventually(lambda: not host._rounds.running)
    asked = prober.asked[of(vim)]
    with pytest.raises(AssertionError):
        await eventually(lambda: prober.asked[of(vim)] > asked, within_s=0.2)


async def test_bad_action_ends_a_monitor(host: Host, conductor: Conductor, redis: Redis) -> None:
    vim = await watched(host, conductor)
    conductor.vims.deregister(vim.id)  # and nobody tells Redis
    redis.delete(KEYS.lease(vim.id))
    await eventually(lambda: not host.held)
    await eventually(lambda: not redis.exists(HELD))
    assert text_of(redis, KEYS.lease(vim.id)) == "2:-"


async def test_the_second_monitor_of_one_action_is_sent_away(
    host: Host, conductor: Conductor, redis_server: RedisServer, prober: ScriptedProber
) -> None:
    vim = await watched(host, conductor)
    async with hosting(redis_server.url, prober) as second:
        second.take_on(assignment_of(vim))
        await eventually(lambda: not second.held)
    assert list(host.held) == [vim.id]


@pytest.mark.parametrize("lease", [None, "0:old", "0:-", "garbage", "1:another", ["another type"]])
async def test_a_lease_that_proves_nothing_ends_nobody_and_is_mended(
    host: Host, conductor: Conductor, redis: Redis, lease: str | list[str] | None
) -> None:
    vim = await watched(host, conductor)
    key = KEYS.lease(vim.id)
    redis.delete(key)
    if isinstance(lease, list):
        redis.rpush(key, *lease)
    elif lease is not None:
        redis.set(key, lease)
    redis.config_resetstat()
    if lease == "1:another":  # the conductor does not write over that: the database's generation must grow
        await eventually(lambda: calls_of(redis, "mget") >= 4)
    else:
        await eventually(lambda: text_of(redis, key) == str(Lease(1, vim.action_id)))
    assert list(host.held) == [vim.id]


@pytest.mark.parametrize(
    ("lease", "status"),
    [
        ("9" * 5000 + ":x", "9" * 5000 + ":1:REACHABLE:h"),
        ("1:a1", "1:" + "9" * 30 + ":REACHABLE:h"),
        ("1:a1", f"1:{2**53 - 1}:REACHABLE:h"),
        ("\x00", "::::"),
    ],
)
async def test_nonsense_in_redis_ends_neither_its_monitor_nor_the_others(
    lone_host: Host, redis: Redis, lease: str, status: str
) -> None:
    keys = Keys("lone")
    lone_host.take_on(assigned("tokyo"))
    lone_host.take_on(assigned("osaka"))
    redis.mset({keys.lease("tokyo"): lease, keys.status("tokyo"): status, keys.lease("osaka"): "1:a1"})
    redis.config_resetstat()
    await eventually(lambda: calls_of(redis, "mget") >= 4)
    assert sorted(lone_host.held) == ["osaka", "tokyo"]
    redis.set(keys.lease("osaka"), "2:-")
    await eventually(lambda: list(lone_host.held) == ["tokyo"])
    redis.set(keys.lease("tokyo"), "2:-")
    await eventually(lambda: not lone_host.held)


def overwritten(redis: Redis, vim: Vim, before: str) -> bool:
    """Whether Redis has the same again, as something newer: a check that was under way may have had it said twice."""
    found, known = parse_status(text_of(redis, KEYS.status(vim.id))), parse_status(before)
    assert known is not None
    return found is not None and found.seq > known.seq and found._replace(seq=known.seq) == known


async def test_a_status_that_somebody_else_wrote_is_put_right(host: Host, conductor: Conductor, redis: Redis) -> None:
    vim = await watched(host, conductor)
    generation, seq, _, holder = str(text_of(redis, KEYS.status(vim.id))).split(":", 3)
    redis.set(KEYS.status(vim.id), f"{generation}:{seq}:UNKNOWN:{holder}")
    await eventually(lambda: overwritten(redis, vim, f"{generation}:{seq}:REACHABLE:{holder}"))


@asynccontextmanager
async def pinging(redis_server: RedisServer, conductor: Conductor) -> AsyncIterator[tuple[Host, Vim]]:
    """A host with a real prober, and the one VIM that it watches, by icmp, and that is REACHABLE."""
    async with Prober() as real:
        probe = IcmpProbe(auth_url="http://127.0.0.1:5000", interval_s=0.1)
        if "no ICMP socket is allowed" in (await real.probe(probe)).reason:
            pytest.skip("this process may not open ICMP sockets")
        async with hosting(redis_server.url, real) as host:
            vim = conductor.register()
            host.take_on(replace(assignment_of(vim), probe=probe))
            await conductor.says(vim, VimStatus.REACHABLE)
            yield host, vim
        assert real.running == 0


async def test_what_somebody_else_wrote_of_a_vim_whose_replies_are_only_counted_is_put_right(
    redis_server: RedisServer, redis: Redis, conductor: Conductor
) -> None:
    async with pinging(redis_server, conductor) as (host, vim):
        await eventually(lambda: host._rounds._watched[vim.id].settled)
        told: list[object] = []
        host._rounds._ended = lambda *found: told.append(found)
        host._rounds.counted = lambda vim_id: "ICMP reply in 77 ms"  # type: ignore[method-assign]
        known = await eventually(lambda: text_of(redis, KEYS.status(vim.id)))
        generation, seq, _, holder = str(known).split(":", 3)
        redis.set(KEYS.status(vim.id), f"{generation}:{seq}:UNKNOWN:{holder}")
        await eventually(lambda: overwritten(redis, vim, f"{generation}:{seq}:REACHABLE:{holder}"))
        assert host._monitors[vim.id].reason_said == "ICMP reply in 77 ms"
        assert told == []


async def test_what_redis_says_is_looked_at_again_when_something_may_follow_from_it(
    host: Host, conductor: Conductor, prober: ScriptedProber
) -> None:
    vim = await watched(host, conductor)

    async def expects(status: str) -> None:
        await eventually(lambda: match(status, (host._checks._statuses.get(vim.id) or b"").decode()))

    await expects("1:1:REACHABLE:")
    prober.scripts[of(vim)] = DOWN
    await conductor.says(vim, VimStatus.UNREACHABLE)
    assert vim.id not in host._checks._leases
    del prober.scripts[of(vim)]
    await expects("1:([3-9]|..+):REACHABLE:")
    host._let_go(host._monitors[vim.id], why="the test wants it")
    assert not host._checks._leases
    assert not host._checks._statuses


async def test_a_status_that_was_expected_before_is_put_right_when_it_comes_back(
    host: Host, conductor: Conductor, redis: Redis
) -> None:
    """As when another Redis takes over that is behind: meanwhile the monitor said the same status anew."""
    vim = await watched(host, conductor)
    await eventually(lambda: host._checks._statuses.get(vim.id))
    before = str(text_of(redis, KEYS.status(vim.id)))
    redis.set(KEYS.status(vim.id), before.replace("REACHABLE", "UNKNOWN"))
    await eventually(lambda: overwritten(redis, vim, before))
    await eventually(lambda: not host._monitors[vim.id].said)
    redis.set(KEYS.status(vim.id), before)
    await eventually(lambda: text_of(redis, KEYS.status(vim.id)) != before)


async def test_what_was_counted_before_a_bug_does_not_count_after_it(
    redis_server: RedisServer, redis: Redis, conductor: Conductor
) -> None:
    async with pinging(redis_server, conductor) as (host, vim):
        await eventually(lambda: host._rounds._watched[vim.id].reply_s)
        host._probed(vim.id, ValueError("a bug"))
        host._conclude(host._monitors[vim.id], lambda: None)
        assert host._monitors[vim.id].health.reason == "cannot probe: ValueError: a bug"


# Who is taken on


async def test_the_same_action_is_taken_on_once(lone_host: Host, prober: ScriptedProber) -> None:
    assert lone_host.take_on(assigned("tokyo"))
    assert not lone_host.take_on(assigned("tokyo", interval_s=50))
    await eventually(lambda: prober.asked[of(assigned("tokyo"))] > 2)


async def test_a_higher_generation_takes_the_place_of_a_lower(
    host: Host, prober: ScriptedProber, conductor: Conductor, redis: Redis
) -> None:
    vim = await watched(host, conductor)
    prober.hang.add(of(vim))
    asked = prober.asked[of(vim)]
    await eventually(lambda: prober.asked[of(vim)] > asked)
    newer = conductor.vims.restart(
        vim.id, expected_generation=1, action_id=str(uuid4()), auth_url="http://elsewhere:5000"
    )
    prober.scripts["http://elsewhere:5000"] = DOWN
    assert host.take_on(assignment_of(newer))
    await conductor.says(vim, VimStatus.UNREACHABLE)
    assert host.held == {vim.id: Lease(2, newer.action_id)}
    assert prober.cancelled[of(vim)] == 1
    await eventually(lambda: redis.hget(HELD, vim.id) == f"2:{newer.action_id}".encode())


async def test_a_lower_generation_that_comes_late_is_ignored(lone_host: Host) -> None:
    lone_host.take_on(assigned("tokyo", 8, "a8"))
    assert not lone_host.take_on(assigned("tokyo", 7, "a7"))
    assert lone_host.held == {"tokyo": Lease(8, "a8")}


# What goes wrong with one


@pytest.mark.parametrize("at_once", [False, True], ids=["in its task", "before there is one"])
async def test_the_bug_of_one_is_told_and_the_others_go_on(
    host: Host, prober: ScriptedProber, conductor: Conductor, caplog: pytest.LogCaptureFixture, at_once: bool
) -> None:
    prober.at_once = at_once
    ill, well = await watched(host, conductor), await watched(host, conductor)

    def bug() -> Outcome:
        raise ZeroDivisionError("division by zero")

    prober.scripts[of(ill)] = bug
    await conductor.says(ill, VimStatus.UNKNOWN)
    assert conductor.row(ill)[1] == "cannot probe: ZeroDivisionError: division by zero"
    prober.scripts[of(well)] = DOWN
    await conductor.says(well, VimStatus.UNREACHABLE)
    asked = prober.asked[of(ill)]
    await eventually(lambda: prober.asked[of(ill)] > asked + 2)
    assert sum("monitor_failed" in record.message for record in caplog.records) == 1
    prober.scripts[of(ill)] = UP
    await conductor.says(ill, VimStatus.REACHABLE)
    prober.scripts[of(ill)] = bug
    await conductor.says(ill, VimStatus.UNKNOWN)
    assert sum("monitor_failed" in record.message for record in caplog.records) == 2


@pytest.mark.parametrize("step", ["observe", "checked", "answered"])
async def test_a_bug_in_the_thinking_of_one_is_its_own_trouble(
    host: Host, conductor: Conductor, step: str, redis: Redis, prober: ScriptedProber, monkeypatch: pytest.MonkeyPatch
) -> None:
    ill, well = await watched(host, conductor), await watched(host, conductor)
    seen: list[str] = []
    thought, monitor = getattr(Monitor, step), host._monitors[ill.id]

    def bug(thinking: Monitor, *about: object) -> object:
        if thinking is not monitor:
            return thought(thinking, *about)
        seen.append(step)
        raise KeyError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(Monitor, step, bug)
        redis.flushall()  # it has to say something
        await eventually(lambda: seen)
    prober.scripts[of(well)] = DOWN
    await conductor.says(well, VimStatus.UNREACHABLE)
    await conductor.says(ill, VimStatus.REACHABLE)
    assert len(host.held) == 2


async def test_a_probe_that_hangs_holds_up_nobody(
    host: Host, prober: ScriptedProber, conductor: Conductor, redis: Redis
) -> None:
    stuck, well = conductor.register(), conductor.register()
    prober.hang.add(of(stuck))
    host.take_on(assignment_of(stuck))
    host.take_on(assignment_of(well))
    await conductor.says(well, VimStatus.REACHABLE)
    await eventually(lambda: prober.asked[of(well)] > 5)
    assert prober.asked[of(stuck)] == 1
    redis.set(KEYS.lease(stuck.id), "2:-")
    await eventually(lambda: prober.cancelled[of(stuck)])


async def test_a_monitor_whose_first_probe_hangs_leaves_when_its_vim_is_gone_and_so_is_every_trace_of_it(
    host: Host, prober: ScriptedProber
) -> None:
    """It has no status to ask with, and no lease that would tell it."""
    ghost = assigned(str(uuid4()))
    prober.hang.add("*")
    host.take_on(ghost)
    await eventually(lambda: not host.held)


async def test_a_round_without_a_monitor_is_nothing(
    lone_host: Host, prober: ScriptedProber, caplog: pytest.LogCaptureFixture
) -> None:
    lone_host._rounds.add("ghost", assigned("ghost").probe)
    lone_host._checks.add("ghost")
    lone_host.take_on(assigned("tokyo"))
    await eventually(lambda: prober.asked[of(assigned("tokyo"))] > 5)
    assert "task_failed" not in caplog.text


async def test_probes_end_with_their_host(redis_server: RedisServer, prober: ScriptedProber) -> None:
    prober.hang.add("*")
    async with hosting(redis_server.url, prober, prefix="lone") as host:
        host.take_on(assigned("tokyo"))
        await eventually(lambda: prober.asked)
    assert prober.cancelled == prober.asked


# Without Redis


async def test_nobody_leaves_while_redis_is_away_and_what_changed_meanwhile_arrives(
    tmp_path: Path, prober: ScriptedProber, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path, port=free_port())
    with server, conducting(server.url, tmp_path) as conductor:
        async with hosting(server.url, prober) as host:
            changed, same = await watched(host, conductor), await watched(host, conductor)
            server.stop()
            prober.scripts[of(changed)] = DOWN
            asked = Counter(prober.asked)
            await eventually(lambda: all(prober.asked[of(vim)] > asked[of(vim)] + 8 for vim in (changed, same)))
            await eventually(lambda: "task=checks" in caplog.text)
            assert host._checks.owed <= 2
            server.start()
            await conductor.says(changed, VimStatus.UNREACHABLE)
            assert conductor.row(same)[0] == VimStatus.REACHABLE
            assert set(host.held) == {changed.id, same.id}
            redis = Redis.from_url(server.url)
            await eventually(lambda: redis.hlen(HELD) == 2)
            await eventually(lambda: text_of(redis, KEYS.lease(same.id)) == str(Lease(1, same.action_id)))


async def test_the_checks_that_redis_owes_do_not_heap_up(tmp_path: Path, prober: ScriptedProber) -> None:
    async with hosting(f"redis://127.0.0.1:{free_port()}/0", prober, check_interval_s=0.05) as host:
        for vim_id in ("tokyo", "osaka"):
            host.take_on(assigned(vim_id))
        await eventually(lambda: min(prober.asked.values(), default=0) >= 8)
        assert host._checks.owed == 2
        host._let_go(host._monitors["tokyo"], why="the test wants it")
        await eventually(lambda: host._checks.owed == 1)


async def test_after_long_without_redis_a_tenth_of_the_probes_is_made(prober: ScriptedProber) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    async with hosting(nowhere, prober, alone_after_s=-1) as host:
        started = time.monotonic()
        for number in range(100):
            host.take_on(assigned(f"vim-{number}"))
        await eventually(lambda: prober.asked.total() >= 50)  # at the full rate: in half of 0.1 s
        assert time.monotonic() - started > 0.2


# Many


async def test_two_thousand_are_checked_in_bulk_and_each_once_per_interval(
    redis_server: RedisServer, redis: Redis, prober: ScriptedProber
) -> None:
    prober.hang.add("*")
    redis.mset({KEYS.lease(f"vim-{number:04}"): "1:a1" for number in range(2000)})
    checks: list[list[str]] = []

    def watch(seen: threading.Event) -> None:
        """Reads by itself what MONITOR tells: redis-py's reader would take more time than all that it reads of."""
        with socket.create_connection(("127.0.0.1", urlsplit(redis_server.url).port)) as connection:
            connection.sendall(b"MONITOR\r\n")
            for line in connection.makefile("rb"):
                seen.set()
                if b'"PING"' in line:
                    return
                if b'"MGET"' in line:
                    keys = line.decode().split()[4:]
                    checks.append(keys[: len(keys) // 2])

    ready = threading.Event()
    watcher = threading.Thread(target=watch, args=[ready])
    watcher.start()
    ready.wait(10)

    def counts() -> Counter[str]:
        return Counter(key for check in list(checks) for key in check)

    async with hosting(redis_server.url, prober, check_interval_s=0.5) as host:
        for number in range(2000):
            host.take_on(assigned(f"vim-{number:04}", interval_s=600))
        await eventually(lambda: len(counts()) == 2000 and min(counts().values()) >= 3, within_s=20)
    redis.ping()
    watcher.join(10)
    assert max(counts().values()) <= min(counts().values()) + 2
    assert len(checks) * 10 < counts().total()
