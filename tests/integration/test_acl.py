"""Access rules made by `vimmon acl`, on a real Redis: each part does its work, and an executor nothing else."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry

from tests.integration.following import Ground
from tests.integration.hosting import HELD, ME, ScriptedProber, assigned, conducting, hosting, watched
from tests.support.command import Command
from tests.support.guarded_redis import ADMIN, GuardedRedis, acl_line, guarded_redis
from tests.support.polling import eventually
from vimmon import Registry
from vimmon.conductor.reading import read_redis
from vimmon.lease.acl import CONNECTING
from vimmon.lease.keys import Keys
from vimmon.lease.store import LeaseStore
from vimmon.messages import UpdateVim, call
from vimmon.mistral.queue import JobQueue
from vimmon.tacker.sync import TackerSync
from vimmon.vim import VimStatus

THIEF, VICTIM, CONDUCTOR, SERVER, OPERATOR = (
    "vimmon-executor-mistral-1",
    "vimmon-executor-mistral-2",
    "vimmon-conductor",
    "vimmon-server",
    "vimmon-operator",
)
OTHER = "mistral-2:7:cd34"
LONGER = "mistral-10:7:cd34"  # begins like the thief's own name
KEYS = Keys("vimmon")
EVERY_KEY = {
    *(KEYS.lease("v"), KEYS.status("v"), KEYS.executors, KEYS.conductors, KEYS.conductor("c"), KEYS.reconciler),
    *(KEYS.requests, KEYS.taken_index, KEYS.taken("c", "1"), KEYS.dead, KEYS.epoch, KEYS.installation, KEYS.events),
    *(KEYS.totals, KEYS.tacker, KEYS.tacker_turn),
    *(key for owner in (ME, OTHER, LONGER) for key in (KEYS.executor(owner), KEYS.held(owner), KEYS.seen(owner))),
    *(key for owner in (ME, OTHER, LONGER) for key in (KEYS.asks(owner), KEYS.answer(owner, "1"), KEYS.metrics(owner))),
    *(KEYS.replies(f"{owner}:1") for owner in (ME, OTHER, LONGER)),
    *("rq:queue:vimmon", "rq:job:start-v-1", "rq:workers", "vimmon", "other:lease:v", "lease:v"),
}
EXECUTOR_COMMANDS = {
    "mget": "MGET {}",
    "rpush": "RPUSH {} x",
    "llen": "LLEN {}",
    "blmpop": "BLMPOP 0 1 {} LEFT",
    "zadd": "ZADD {} 1 x",
    "hget": "HGET {} x",
    "hset": "HSET {} x y",
    "hdel": "HDEL {} x",
    "hkeys": "HKEYS {}",
    "hlen": "HLEN {}",
    "pexpire": "PEXPIRE {} 1",
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    with guarded_redis(tmp_path_factory.mktemp("guarded")) as running:
        yield running


@pytest.fixture
def admin(guarded: GuardedRedis) -> Iterator[Redis]:
    """Sees and may do everything; Redis is empty, and has refused nothing yet."""
    with guarded.client(ADMIN) as client:
        client.flushall()
        client.acl_log_reset()
        yield client


def allowed(admin: Redis, user: str, command: str) -> bool:
    return bool(admin.execute_command("ACL", "DRYRUN", user, *command.split()) == b"OK")  # type: ignore[no-untyped-call]


async def test_a_host_does_all_its_work_with_an_executors_rules_and_a_conductors(
    guarded: GuardedRedis, admin: Redis, tmp_path: Path
) -> None:
    with conducting(guarded.url(CONDUCTOR), tmp_path) as conductor:
        async with hosting(guarded.url(THIEF), ScriptedProber()) as host:
            vim = await watched(host, conductor)
            admin.delete(HELD)
            await eventually(lambda: admin.hget(HELD, vim.id))
            await eventually(lambda: admin.exists(KEYS.metrics(ME)))
            with guarded.client(CONDUCTOR) as reader:
                assert read_redis(reader, KEYS, JobQueue(reader, name="vimmon")).executors[ME].monitors == 1
            admin.set(KEYS.lease(vim.id), f"{vim.generation + 1}:another")
            await eventually(lambda: not host.held)
            await eventually(lambda: not admin.exists(HELD))
    assert guarded.denied() == []


async def test_an_executor_is_allowed_no_command_that_a_host_does_not_use(guarded: GuardedRedis, admin: Redis) -> None:
    admin.config_resetstat()
    async with hosting(guarded.url(THIEF), ScriptedProber()) as host:
        assert host.take_on(assigned("v"))
        await eventually(lambda: admin.exists(HELD) and admin.exists(KEYS.requests))
        admin.delete(HELD)
        await eventually(lambda: admin.exists(HELD))
        admin.set(KEYS.lease("v"), "2:another")
        await eventually(lambda: not host.held)
        await eventually(lambda: not admin.exists(HELD))
        admin.rpush(KEYS.replies(f"{ME}:1"), "x")
        await eventually(lambda: not admin.exists(KEYS.replies(f"{ME}:1")))
    used = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
    rules = acl_line("executor", "mistral-1", password="x" * 16)
    depend_on_the_url = set(re.findall(r"\+(\S+)", CONNECTING))
    assert set(re.findall(r"\+([^\s)]+)", rules)) - depend_on_the_url == {"time", *EXECUTOR_COMMANDS}
    assert {"time", *EXECUTOR_COMMANDS} <= used


def test_an_executor_may_touch_with_each_command_these_keys_and_no_others(guarded: GuardedRedis, admin: Redis) -> None:
    mine = {KEYS.executor(ME), KEYS.held(ME), KEYS.seen(ME), KEYS.asks(ME), KEYS.answer(ME, "1"), KEYS.metrics(ME)}
    expected = {
        **dict.fromkeys(("hget", "hset", "hdel", "hkeys", "hlen", "pexpire"), mine),
        "mget": {KEYS.lease("v"), KEYS.status("v")},
        "rpush": {KEYS.requests, *mine},
        "llen": {KEYS.requests},
        "blmpop": {KEYS.replies(f"{ME}:1"), *mine},
        "zadd": {KEYS.executors},
    }
    found = {
        name: {key for key in EVERY_KEY if allowed(admin, THIEF, command.format(key))}
        for name, command in EXECUTOR_COMMANDS.items()
    }
    assert found == expected


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(f"SET {KEYS.lease('v')} 9:mine", id="write a lease"),
        pytest.param(f"DEL {KEYS.lease('v')}", id="remove a lease"),
        pytest.param(f"PEXPIRE {KEYS.lease('v')} 1", id="let a lease expire"),
        pytest.param(f"SET {KEYS.status('v')} 1:9:REACHABLE:mine", id="write a committed status"),
        pytest.param(f"LPOP {KEYS.requests}", id="take a request"),
        pytest.param(f"BLMPOP 0.1 1 {KEYS.requests} LEFT", id="take requests"),
        pytest.param(f"BLMOVE {KEYS.requests} {KEYS.replies(f'{ME}:1')} LEFT RIGHT 0.1", id="move a request away"),
        pytest.param(f"LRANGE {KEYS.requests} 0 -1", id="read requests"),
        pytest.param(f"DEL {KEYS.requests}", id="remove requests"),
        pytest.param(f"BLMPOP 0.1 1 {KEYS.replies(f'{OTHER}:1')} LEFT", id="take another's replies"),
        pytest.param(f"BLMPOP 0.1 2 {KEYS.replies(f'{ME}:1')} {KEYS.replies(f'{OTHER}:1')} LEFT", id="both's replies"),
        pytest.param(f"LRANGE {KEYS.replies(f'{OTHER}:1')} 0 -1", id="read another's replies"),
        pytest.param(f"RPUSH {KEYS.replies(f'{OTHER}:1')} x", id="answer another"),
        pytest.param(f"BLMPOP 0.1 1 {KEYS.asks(OTHER)} LEFT", id="take what another was asked"),
        pytest.param(f"RPUSH {KEYS.answer(OTHER, '1')} x", id="answer for another"),
        pytest.param(f"HSET {KEYS.executor(OTHER)} host mine", id="pose as another"),
        pytest.param(f"HSET {KEYS.held(OTHER)} v 9:mine", id="hold in another's name"),
        pytest.param(f"HDEL {KEYS.held(OTHER)} v", id="let go in another's name"),
        pytest.param(f"PEXPIRE {KEYS.executor(OTHER)} 1", id="let another die"),
        pytest.param(f"PEXPIRE {KEYS.executor(LONGER)} 1", id="let one die whose name begins alike"),
        pytest.param(f"ZREM {KEYS.executors} {OTHER}", id="take another off the list"),
        pytest.param(f"HSET {KEYS.conductor('c')} host mine", id="pose as a conductor"),
        pytest.param(f"HSET {KEYS.totals} calls:applied 1", id="count in the conductors' name"),
        pytest.param(f"HSET {KEYS.metrics(OTHER)} running 1", id="count in another's name"),
        pytest.param("RPUSH rq:queue:vimmon x", id="enqueue a job"),
        pytest.param("HSET rq:job:x data y", id="write a job"),
        pytest.param("SMEMBERS rq:workers", id="look at the workers"),
        pytest.param("PUBLISH rq:pubsub:x {}", id="command a worker"),
        pytest.param("SUBSCRIBE rq:pubsub:x", id="listen to commands"),
        *(pytest.param(command, id=command) for command in ("FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "RANDOMKEY")),
        *(pytest.param(command, id=command) for command in ("CONFIG GET *", "CONFIG SET save x", "INFO", "MONITOR")),
        *(pytest.param(command, id=command) for command in ("ACL LIST", "ACL SETUSER x", "CLIENT LIST")),
        *(pytest.param(command, id=command) for command in ("MULTI", "SHUTDOWN", "REPLICAOF h 1", "SCRIPT FLUSH")),
        *(pytest.param(command, id=command) for command in ("EVAL x 0", "EVALSHA x 0", "FUNCTION LIST", "SWAPDB 0 1")),
    ],
)
def test_an_executor_cannot(guarded: GuardedRedis, admin: Redis, attempt: str) -> None:
    with guarded.client(THIEF) as thief, pytest.raises(NoPermissionError):
        thief.execute_command(*attempt.split())


@pytest.mark.parametrize("user", [SERVER, CONDUCTOR])
def test_tacker_is_followed_with_the_rules_of_a_server_and_of_a_conductor(
    guarded: GuardedRedis, admin: Redis, ground: Ground, user: str
) -> None:
    with guarded.client(user) as client:
        store = LeaseStore(client, KEYS, ttl_s=900)
        registry = Registry(ground.bench.vims, store, JobQueue(client, name="vimmon"))
        sync = TackerSync(ground.client(), registry, client, KEYS)
        tokyo = ground.tacker.add("tokyo")
        assert (sync.run_once().followed, sync.look().followed) == (1, 1)
        del ground.tacker.vims[tokyo]
        assert sync.run_once().followed == 0
    assert admin.get(KEYS.lease(tokyo)) == b"2:-"
    assert admin.hget(KEYS.totals, "tacker:deregistered") == b"1"
    assert guarded.denied() == []


@pytest.mark.parametrize(
    ("user", "attempt"),
    [
        (user, attempt)
        for user, attempts in {
            CONDUCTOR: (
                "FLUSHALL",
                "CONFIG GET *",
                "KEYS *",
                "SET other:lease:v x",
                "ACL LIST",
                "FUNCTION LIST",
                "FUNCTION FLUSH",
                "SCRIPT FLUSH",
                "SHUTDOWN",
            ),
            SERVER: (
                *(
                    "FLUSHALL",
                    "CONFIG GET *",
                    "KEYS *",
                    "EVAL x 0",
                    f"LPOP {KEYS.requests}",
                    f"RPUSH {KEYS.requests} x",
                ),
                *(f"HSET {KEYS.executor(ME)} x y", f"HSET {KEYS.conductor('c')} x y", f"DEL {KEYS.lease('v')}"),
                *(f"SET {KEYS.installation} x", f"HSET {KEYS.totals} x y", f"DEL {KEYS.tacker}", f"DEL {KEYS.totals}"),
            ),
            OPERATOR: (
                *("FLUSHALL", "CONFIG GET *", "KEYS *", "EVAL x 0", "EVALSHA x 0", f"SET {KEYS.lease('v')} 9:x"),
                *(
                    f"LPOP {KEYS.requests}",
                    f"DEL {KEYS.dead}",
                    f"EXPIRE {KEYS.lease('v')} 1",
                    "RPUSH rq:queue:vimmon x",
                ),
                *("GET other:lease:v", f"GETDEL {KEYS.lease('v')}", f"PERSIST {KEYS.executor(ME)}"),
            ),
        }.items()
        for attempt in attempts
    ],
)
def test_nobody_may_do_more_than_the_work_needs(guarded: GuardedRedis, admin: Redis, user: str, attempt: str) -> None:
    with guarded.client(user) as client, pytest.raises(NoPermissionError):
        client.execute_command(*attempt.split())


def test_an_operator_may_look_at_every_key_of_vimmon(guarded: GuardedRedis, admin: Redis) -> None:
    for key in EVERY_KEY - {"vimmon", "other:lease:v", "lease:v"}:
        for command in ("TYPE", "TTL", "GET", "HGETALL", "DUMP"):
            assert allowed(admin, OPERATOR, f"{command} {key}"), (command, key)
    with guarded.client(OPERATOR) as operator:
        assert "maxmemory_policy" in operator.info()  # what an administrator would ask CONFIG for
        assert list(operator.scan_iter(match="vimmon:*")) == []


async def test_a_stolen_executor_can_report_on_a_vim_whose_id_it_knows_and_the_true_monitor_puts_it_right(
    guarded: GuardedRedis, admin: Redis, tmp_path: Path
) -> None:
    """Not wanted, but so: docs/security.md says it."""
    with conducting(guarded.url(CONDUCTOR), tmp_path) as conductor, guarded.client(THIEF) as thief:
        async with hosting(guarded.url(THIEF), ScriptedProber()) as host:
            vim = await watched(host, conductor)
            lease, status = (value.decode() for value in thief.mget(KEYS.lease(vim.id), KEYS.status(vim.id)))
            generation, seq, _, holder = status.split(":", 3)
            lie = UpdateVim(
                vim_id=vim.id,
                status=VimStatus.UNREACHABLE,
                action_id=lease.partition(":")[2],
                generation=int(generation),
                seq=int(seq) + 1,
                holder=holder,
                reason="a lie",
            )
            thief.rpush(KEYS.requests, call("1", lie, reply_to=KEYS.replies(f"{ME}:1"), expires_at=None))
            await eventually(lambda: "a lie" in [change.reason for change in conductor.vims.history(vim.id)])
            await conductor.says(vim, VimStatus.REACHABLE)


def test_redis_itself_takes_nothing_that_is_far_longer_than_any_message(guarded: GuardedRedis, admin: Redis) -> None:
    with guarded.client(THIEF) as thief:
        with pytest.raises(RedisError):
            thief.rpush(KEYS.requests, b"x" * (100 * 1024 * 1024))
        assert thief.llen(KEYS.requests) == 0


def test_without_a_name_nobody_is_let_in(guarded: GuardedRedis) -> None:
    with Redis(port=guarded.port, retry=Retry(NoBackoff(), 0)) as nobody, pytest.raises(AuthenticationError):
        nobody.ping()


async def test_the_rules_follow_the_prefix_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, guarded: GuardedRedis, admin: Redis
) -> None:
    monkeypatch.setenv("VIMMON_PREFIX", "lone")
    password = "a password for this one"
    admin.execute_command("ACL", "SETUSER", *acl_line("executor", "mistral-1", password=password).split()[1:])  # type: ignore[no-untyped-call]
    try:
        url = f"redis://{THIEF}:{password.replace(' ', '%20')}@127.0.0.1:{guarded.port}/0"
        async with hosting(url, ScriptedProber(), prefix="lone"):
            await eventually(lambda: admin.exists(f"lone:executor:{ME}"))
        assert not allowed(admin, THIEF, f"HGET {KEYS.executor(ME)} x")
    finally:
        admin.acl_load()


@pytest.fixture
def vimmon(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_a_password_is_made_told_once_and_only_its_hash_is_in_the_line(vimmon: Command) -> None:
    ended = vimmon("acl", "conductor")
    found = re.search(r"password of vimmon-conductor, shown only now: (\S+)\n", ended.err)
    assert ended.code == 0
    assert found is not None
    assert len(found[1]) >= 43  # 256 bits: Redis keeps an unsalted hash
    assert hashlib.sha256(found[1].encode()).hexdigest() in ended.out
    assert found[1] not in ended.out
    assert "user default off" in ended.err
    assert ended.out.count("\n") == 1


def test_as_json_the_line_comes_with_the_password_that_was_made(vimmon: Command) -> None:
    made = vimmon("acl", "executor", "mistral-1", "--json")
    assert made.err == ""
    assert made.json.keys() == {"user", "line", "password"}
    assert made.json["user"] == THIEF
    assert hashlib.sha256(made.json["password"].encode()).hexdigest() in made.json["line"]


def test_a_password_that_was_given_is_never_repeated(vimmon: Command, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("open sesame, open sesame\n")
    ended = vimmon("acl", "server", "--password-file", str(file), "--json")
    assert ended.json.keys() == {"user", "line"}
    assert "sesame" not in ended.out + ended.err
    known = hashlib.sha256(b"open sesame, open sesame").hexdigest()
    assert vimmon("acl", "server", "--hash", known).out.strip() == ended.json["line"]
    assert vimmon("acl", "server", "--hash", f"#{known}", "--json").json == ended.json


@pytest.mark.parametrize(
    "text", [b"", b"short\n", b"fifteen letters\n", b"sixteen letters\x00\n", b"\xff" * 20, b"x" * 2000]
)
def test_a_password_that_can_be_guessed_or_is_none_is_refused_without_being_repeated(
    vimmon: Command, tmp_path: Path, text: bytes
) -> None:
    file = tmp_path / "password"
    file.write_bytes(text)
    ended = vimmon("acl", "server", "--password-file", str(file))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: --password-file: ")
    assert "letters" not in ended.err
    assert "xxxx" not in ended.err


@pytest.mark.parametrize("name", ["", "*", "a:b", "a b", "a*", "a?", "[a]", "a\\", "é", "a" * 65, ") allkeys +@all ("])
def test_a_name_that_is_a_pattern_or_more_than_a_name_makes_no_rules(vimmon: Command, name: str) -> None:
    ended = vimmon("acl", "executor", name)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: name: ")


@pytest.mark.parametrize("hash_", ["nopass", "", "a" * 63, "A" * 64, "a" * 64 + " nopass", "g" * 64])
def test_what_is_no_hash_makes_no_user(vimmon: Command, hash_: str) -> None:
    ended = vimmon("acl", "conductor", "--hash", hash_)
    assert (ended.code, ended.out) == (1, "")
    assert "hash" in ended.err


def test_a_file_that_is_not_there_and_both_options_at_once_are_refused(vimmon: Command, tmp_path: Path) -> None:
    missing = vimmon("acl", "server", "--password-file", str(tmp_path / "none"))
    assert (missing.code, missing.out) == (1, "")
    assert "No such file" in missing.err
    assert vimmon("acl", "server", "--password-file", "-", "--hash", "a" * 64).code == 2
