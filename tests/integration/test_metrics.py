"""What an executor counts, and what a conductor reads of it and of all else in Redis: real Redis, real hosts."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import orjson
import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from tests.integration.bench import Bench, update_vim
from tests.integration.hosting import DOWN, KEYS, ME, UP, ScriptedProber, assigned, hosting, of
from tests.integration.passes import EXECUTOR, Pass, alive, watched
from tests.integration.test_costs import measured
from tests.support.authority import Authority
from tests.support.polling import eventually
from tests.support.servers import VERSIONS, Web, keystone, new_prober, serving, silence, tcp
from vimmon.actions.host import Host
from vimmon.actions.monitor import Assignment
from vimmon.conductor.families import families
from vimmon.conductor.plan import Plan, Unwatched
from vimmon.conductor.reading import Reading, read_redis
from vimmon.conductor.tally import SIZES, Tally, count_pass, read_totals
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.metrics import FIELD_MAX_BYTES, ExecutorMetrics, read_metrics
from vimmon.mistral.queue import JobQueue
from vimmon.probes import Outcome
from vimmon.vim import VimStatus

LONE = Keys("lone")
EXPIRES = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)
OTHER = "mistral-2:7:cd34"


def said(redis: Redis, keys: Keys = LONE) -> ExecutorMetrics:
    fields = cast(dict[bytes, bytes], redis.hgetall(keys.metrics(ME)))
    return read_metrics({name.decode(): value for name, value in fields.items()})


def reading(redis: Redis) -> Reading:
    return read_redis(redis, KEYS, JobQueue(redis, name="vimmon"))


async def test_an_executor_tells_how_many_probes_found_what_how_long_they_took_and_how_late_they_were(
    lone_host: Host, redis: Redis, prober: ScriptedProber
) -> None:
    up, down = assigned("up"), assigned("down")
    prober.scripts |= {of(up): Outcome(status=VimStatus.REACHABLE, reason="in 30 ms", rtt_ms=30.0), of(down): DOWN}
    assert lone_host.take_on(up)
    assert lone_host.take_on(down)
    await eventually(lambda: min(said(redis).probes.get("tcp", {0: 0}).values()) >= 3)
    told = said(redis)
    assert set(told.probes["tcp"]) == {VimStatus.REACHABLE, VimStatus.UNREACHABLE}
    reached = told.probes["tcp"][VimStatus.REACHABLE]
    assert sum(told.answers["tcp"].counts) == reached, "only what was answered took a time that says something"
    assert told.answers["tcp"].sum == pytest.approx(0.03 * reached)
    assert sum(told.lag["schedule"].counts) >= sum(told.probes["tcp"].values())
    assert told.oldest_check_s is not None
    assert 0 <= told.oldest_check_s < 5
    assert sum(prober.asked.values()) >= sum(told.probes["tcp"].values())


async def test_the_oldest_check_is_that_of_a_monitor_that_hangs(
    lone_host: Host, redis: Redis, prober: ScriptedProber
) -> None:
    prober.hang.add(of(assigned("hangs")))
    for vim_id in ("hangs", "v"):
        assert lone_host.take_on(assigned(vim_id))
    await eventually(lambda: (said(redis).oldest_check_s or 0) > 0.5)


async def test_certificates_and_flapping_are_told_of_each_vim_and_forgotten_with_it(
    lone_host: Host, redis: Redis, prober: ScriptedProber
) -> None:
    flapping, steady = assigned("f", rise=1, fall=1), assigned("s")
    found = iter([UP, DOWN] * 3)
    with_certificate = Outcome(status=VimStatus.REACHABLE, reason="in 1 ms", certificate_expires_at=EXPIRES)
    prober.scripts |= {of(flapping): lambda: next(found, UP), of(steady): with_certificate}
    assert lone_host.take_on(flapping)
    assert lone_host.take_on(steady)
    await eventually(lambda: said(redis).flapping == ("f",))
    assert said(redis).certificates == {"s": EXPIRES.timestamp()}
    redis.set(LONE.lease("f"), "9:-")
    redis.set(LONE.lease("s"), "9:-")
    await eventually(lambda: (said(redis).flapping, said(redis).certificates) == ((), {}))


async def test_a_certificate_that_a_server_shows_comes_to_be_read_by_a_conductor(
    redis_server: RedisServer, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path, "trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with (
        serving(Web(300, VERSIONS), tls=authority.server()) as port,
        new_prober() as prober,
        hosting(redis_server.url, prober) as host,
    ):
        assert host.take_on(Assignment("v", "a1", 1, keystone(port, host="vim.test", scheme="https")))
        await eventually(lambda: said(redis, KEYS).certificates)
        told = reading(redis).executors[ME]
    assert told.metrics.certificates["v"] > time.time()
    assert told.metrics.probes["http"][VimStatus.REACHABLE] >= 1
    assert told.monitors == 1


async def test_the_last_certificate_that_was_seen_counts_while_the_vim_does_not_answer(
    lone_host: Host, redis: Redis, prober: ScriptedProber
) -> None:
    vim = assigned("v")
    found = iter([Outcome(status=VimStatus.REACHABLE, reason="in 1 ms", certificate_expires_at=EXPIRES)])
    prober.scripts[of(vim)] = lambda: next(found, DOWN)
    assert lone_host.take_on(vim)
    await eventually(lambda: said(redis).probes.get("tcp", {}).get(VimStatus.UNREACHABLE, 0) > 3)
    assert said(redis).certificates == {"v": EXPIRES.timestamp()}


async def test_the_figures_expire_with_their_executor_and_come_back_after_redis_lost_them(
    lone_host: Host, redis: Redis
) -> None:
    await eventually(lambda: redis.exists(LONE.metrics(ME)))
    redis.persist(LONE.metrics(ME))
    await eventually(lambda: 0 < redis.pttl(LONE.metrics(ME)) <= 30_000)
    redis.flushall()
    await eventually(lambda: redis.exists(LONE.metrics(ME)))


async def test_a_beat_keeps_figures_alive_that_are_written_more_seldom(redis_server: RedisServer, redis: Redis) -> None:
    async with hosting(redis_server.url, ScriptedProber(), prefix="lone", check_interval_s=0.3):
        await eventually(lambda: redis.exists(LONE.metrics(ME)))
    # hosting beats every 0.2 s; what is written every 100 s lives on the beats alone
    async with hosting(redis_server.url, ScriptedProber(), prefix="lone", check_interval_s=100):
        redis.pexpire(LONE.metrics(ME), 5000)
        await eventually(lambda: redis.pttl(LONE.metrics(ME)) > 5000)


async def test_what_waits_for_its_turn_is_told_as_lag_and_not_as_failure() -> None:
    async with serving(silence) as port:
        prober = new_prober(concurrency=1)
        async with prober:
            await asyncio.gather(*[prober.probe(tcp(port)) for _ in range(3)])
        assert sum(prober.waits.spread().counts) == 2
        assert prober.waits.spread().sum > 0


def test_lists_jobs_and_conductors_are_counted(bench: Bench, redis: Redis) -> None:
    vim = bench.registered()
    bench.push(*[update_vim(vim, seq=seq) for seq in (1, 2)])
    redis.zadd(KEYS.conductors, {"lives": 1, "dead": 1})
    redis.hset(KEYS.conductor("lives"), "pid", "1")
    assert (reading(redis).requests, reading(redis).dead, list(reading(redis).conductors)) == (2, 0, ["lives"])
    bench.push(b"rubbish")
    bench.serve()
    assert (reading(redis).requests, reading(redis).dead) == (0, 1)
    JobQueue(redis, name="vimmon").start(vim.id, 1)
    assert reading(redis).jobs == {"queued": 1, "started": 0, "retrying": 0, "failed": 0}


def test_what_became_of_calls_and_batches_is_counted_and_added_up_over_all_conductors(
    bench: Bench, redis: Redis
) -> None:
    vim, other = bench.registered(), bench.registered("osaka")
    bench.push(
        update_vim(vim, seq=1),
        update_vim(vim, seq=1),
        update_vim(other, action_id="another"),
        update_vim(other, "PERHAPS"),
        update_vim(other) | {"expires_at": 1},
        update_vim(other) | {"method": "sing"},
        b"rubbish",
    )
    bench.serve()
    bench.push(update_vim(vim, "UNREACHABLE", seq=2))
    bench.serve()
    bench.tally.flush(redis, KEYS)
    bench.tally.flush(redis, KEYS)  # with nothing new
    another = Tally()
    another.call("applied", 5)
    another.flush(redis, KEYS)
    totals = reading(redis).totals
    counted = {what: totals.of("calls", what) for what in ("applied", "known", "bad_action", "invalid", "expired")}
    assert counted == {"applied": 2 + 5, "known": 1, "bad_action": 1, "invalid": 1, "expired": 1}
    assert totals.of("calls", "unreadable") == 2
    assert (totals.of("changes", "REACHABLE"), totals.of("changes", "UNREACHABLE")) == (1, 1)
    sizes, requests = totals.spread("batch_requests", SIZES)
    assert requests == 8
    assert [count for bound, count in sizes if bound in (1, 5, 10)] == [1, 1, 2]
    assert redis.pttl(KEYS.totals) == -1


def test_what_could_not_be_added_is_added_when_redis_is_back(redis: Redis) -> None:
    tally = Tally()
    tally.call("applied", 3)
    away = Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    with pytest.raises(RedisConnectionError):
        tally.flush(away, KEYS)
    tally.flush(redis, KEYS)
    assert read_totals(redis, KEYS).of("calls", "applied") == 3


def test_how_long_a_batch_took_is_counted(redis: Redis) -> None:
    now = 100.0
    tally = Tally(lambda: now)
    began_s, now = tally.clock(), now + 0.2
    tally.batch(3, began_s)
    tally.flush(redis, KEYS)
    buckets, total_s = read_totals(redis, KEYS).spread("batch_seconds", (0.1, 0.25), 1_000_000)
    assert buckets[:2] == [(0.1, 0), (0.25, 1)]
    assert total_s == pytest.approx(0.2)


def test_passes_of_the_reconciler_are_counted_with_what_they_did_and_when_the_last_one_was(
    bench: Bench, redis: Redis
) -> None:
    assert reading(redis).reconciled_s is None
    vim = watched(bench)
    alive(bench, **{vim.id: f"1:{vim.action_id}"})
    run = Pass(bench).settled()
    redis.delete(KEYS.executor(EXECUTOR))
    run()
    assert len(run().restarts) == 1
    count_pass(redis, KEYS, Plan(starts=[("v", 1)] * 2, unwatched=[Unwatched("v", 1, 1, "")] * 3), as_of_ms=1)
    Pass(bench)()
    found = reading(redis)
    counted = {what: found.totals.of("reconcile", what) for what in ("pass", "restart", "start", "unknown")}
    assert counted == {"pass": 2 + 2 + 1 + 1, "restart": 1, "start": 2, "unknown": 3}
    assert found.totals.of("changes", "UNKNOWN") == 3
    assert found.reconciled_s is not None
    assert found.reconciled_s < 60
    redis.hset(KEYS.totals, "reconcile_ended_ms", str((int(redis.time()[0]) - 500) * 1000))
    assert reading(redis).reconciled_s == pytest.approx(500, abs=30)


def test_totals_of_another_type_keep_nobody_from_the_work(bench: Bench, redis: Redis) -> None:
    redis.set(KEYS.totals, "rubbish")
    bench.ask(update_vim(bench.registered(), seq=1))
    bench.tally.flush(redis, KEYS)
    Pass(bench)()
    assert redis.get(KEYS.totals) == b"rubbish"


def test_an_executor_that_is_dead_is_not_read_and_rubbish_of_one_that_lives_is_left_out(
    bench: Bench, redis: Redis
) -> None:
    for executor in (ME, OTHER, "list:1:a", "dead:1:a"):
        alive(bench, executor)
        redis.hset(KEYS.executor(executor), mapping={"monitors": "2", "prober_degraded": "1"})
    redis.persist(KEYS.executor("dead:1:a"))
    redis.hset(
        KEYS.metrics(ME), mapping={"running": "3", "waiting": "{", "oldest_check_s": b" " * FIELD_MAX_BYTES + b"7"}
    )
    redis.hset(KEYS.executor(OTHER), "monitors", "many")
    redis.set(KEYS.metrics(OTHER), "rubbish")
    redis.delete(KEYS.executor("list:1:a"))
    redis.rpush(KEYS.executor("list:1:a"), "x")
    redis.pexpire(KEYS.executor("list:1:a"), 30_000)
    with measured(redis) as counted:
        found = reading(redis).executors
    assert counted.bytes_out < 100_000, "what is too long is not even fetched"
    assert {name: (one.monitors, one.degraded) for name, one in found.items()} == {
        ME: (2, True),
        OTHER: (0, True),
        "list:1:a": (0, False),
    }
    assert found[ME].metrics == ExecutorMetrics(running=3)
    assert found[OTHER].metrics == ExecutorMetrics()


def test_a_vim_that_two_executors_speak_of_while_it_moves_is_shown_once(bench: Bench, redis: Redis) -> None:
    for executor, expires in ((ME, 100), (OTHER, 200)):
        alive(bench, executor)
        redis.hset(KEYS.metrics(executor), mapping={"certificates": f'{{"v": {expires}}}', "flapping": '["v"]'})
    shown = {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in families(reading(redis), None, {"v": "tokyo"})
    }
    of_v = {"vim_id": "v", "name": "tokyo"}
    assert shown["vimmon_certificate_expiry_timestamp_seconds"] == [(of_v, 100)]
    assert shown["vimmon_vim_flapping"] == [(of_v, 1)]


def test_reading_costs_as_many_commands_for_ten_thousand_vims_as_for_one(bench: Bench, redis: Redis) -> None:
    commands = []
    for count in (1, 10_000):
        alive(bench, ME, **{f"v{number}": "1:a" for number in range(count)})
        certificates = orjson.dumps({f"v{number}": 1 for number in range(count)})
        redis.hset(KEYS.metrics(ME), mapping={"certificates": certificates})
        with measured(redis) as counted:
            assert len(reading(redis).executors[ME].metrics.certificates) == count
        commands.append(counted.commands)
    assert commands[0] == commands[1]
    assert sum(commands[0].values()) < 30
