"""`vimmon.ping_vim` as Mistral uses it: rebuilt from its attributes, run in an executor process, never waited for."""

import asyncio
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from mistral_lib import serialization
from mistral_lib.exceptions import ActionException
from redis import Redis

from tests.support.polling import eventually
from vimmon.actions import thread
from vimmon.actions.action import PingVim
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer

PROBE = {"kind": "tcp", "auth_url": "http://127.0.0.1:9"}
IN_A_PROCESS = """
import json, os, sys, threading
from mistral_lib.exceptions import ActionException
from vimmon.actions import thread
from vimmon.actions.action import PingVim

def run(vim_id, **given):
    inputs = {"vim_id": vim_id, "action_id": "a1", "generation": 1, "probe": PROBE} | given
    try:
        return PingVim(**inputs).run(None)
    except ActionException as refused:
        return str(refused)

def hosts():
    return sum(thread.name == "vimmon-host" for thread in threading.enumerate())

def wait_for_redis(url, executor_id, many):
    import time
    from redis import Redis
    deadline = time.monotonic() + 10
    while Redis.from_url(url).hlen(f"vimmon:executor:{executor_id}:held") != many and time.monotonic() < deadline:
        time.sleep(0.02)
    return Redis.from_url(url).hlen(f"vimmon:executor:{executor_id}:held")
"""


def rebuilt(action: PingVim) -> Any:
    """As it arrives in the executor."""
    serializer = serialization.get_polymorphic_serializer()
    return serializer.deserialize(serializer.serialize(action))


def in_a_process(script: str, **environment: str) -> Any:
    """What the script prints, as JSON, run in an executor's process of its own."""
    program = IN_A_PROCESS.replace("PROBE", repr(PROBE)) + script
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VIMMON_")}
    environ |= {"VIMMON_ENV_FILE": os.devnull} | environment
    ran = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "secret" not in ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture
def no_host(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be handed over to this process's host."""
    taken: list[Any] = []
    monkeypatch.setattr("vimmon.actions.thread.take_on", taken.append)
    return taken


def test_mistral_finds_it_by_its_name() -> None:
    (found,) = entry_points(group="mistral.actions", name="vimmon.ping_vim")
    assert found.load() is PingVim


def test_it_is_rebuilt_without_its_constructor(no_host: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    action = PingVim(vim_id="tokyo", action_id="a1", generation=1, probe=PROBE)
    monkeypatch.delattr(PingVim, "__init__")
    again = rebuilt(action)
    assert vars(again) == {"vim_id": "tokyo", "action_id": "a1", "generation": 1, "probe": PROBE}
    assert again.run(None) is None
    assert [(one.vim_id, one.action_id, one.generation, one.probe.auth_url) for one in no_host] == [
        ("tokyo", "a1", 1, "http://127.0.0.1:9")
    ]


def test_mistral_does_not_wait_for_it() -> None:
    assert rebuilt(PingVim("tokyo", "a1", 1, PROBE)).is_sync() is False


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"vim_id": ""}, "vim_id: "),
        ({"vim_id": None}, "vim_id: "),
        ({"action_id": "with space"}, "action_id: "),
        ({"generation": None}, "generation: it is missing"),
        ({"generation": "many"}, "generation: "),
        ({"probe": None}, "probe: it is not an object"),
        ({"probe": {}}, "probe"),
        ({"probe": {**PROBE, "fall": 0}}, "probe.fall: "),
        ({"probe": {**PROBE, "kind": "carrier pigeon"}}, "probe"),
        ({"probe": {**PROBE, "auth_url": "http://user:secret@host"}}, "auth_url: it contains a user name or password"),
    ],
)
def test_a_bad_input_is_told_to_mistral_with_its_name_and_a_remedy(
    no_host: list[Any], inputs: dict[str, Any], told: str
) -> None:
    given: dict[str, Any] = {"vim_id": "tokyo", "action_id": "a1", "generation": 1, "probe": PROBE} | inputs
    with pytest.raises(ActionException, match=f"^vimmon: {told}") as refused:
        rebuilt(PingVim(**given)).run(None)
    assert refused.value.__cause__.remedy in str(refused.value)
    assert refused.value.__cause__.remedy
    assert "secret" not in str(refused.value)
    assert not no_host


def test_an_executor_patched_by_eventlet_is_refused(no_host: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Patcher:
        @staticmethod
        def is_monkey_patched(name: str) -> bool:
            return name == "socket"

    monkeypatch.setitem(sys.modules, "eventlet.patcher", Patcher)
    with pytest.raises(ActionException, match=r"patched by eventlet.*native threads"):
        PingVim("tokyo", "a1", 1, PROBE).run(None)
    assert not no_host


def test_one_host_is_made_when_first_needed_and_another_after_a_fork(redis_server: RedisServer, redis: Redis) -> None:
    found = in_a_process(
        f"""
url = {redis_server.url!r}
found = {{"before": hosts()}}
found["answers"] = [run("tokyo"), run("osaka"), run("osaka")]
found["hosts"] = hosts()
mine = thread._thread.executor_id
found["held"] = wait_for_redis(url, mine, 2)
reader, writer = os.pipe()
thread._lock.acquire()  # as another thread of the parent might have it
child = os.fork()
if child == 0:
    inherited = thread._thread
    answer = run("kyoto")
    other = thread._thread.executor_id
    os.write(writer, json.dumps([inherited is None, answer, other != mine, wait_for_redis(url, other, 1)]).encode())
    os._exit(0)
thread._lock.release()
found["child"] = json.loads(os.read(reader, 1000))
os.waitpid(child, 0)
run("nara")
found["parent goes on"] = wait_for_redis(url, mine, 3)
print(json.dumps(found))
""",
        VIMMON_REDIS_URL=redis_server.url,
        VIMMON_EXECUTOR_NAME="mistral-1",
    )
    assert found == {
        "before": 0,
        "answers": [None, None, None],
        "hosts": 1,
        "held": 2,
        "child": [True, None, True, 1],
        "parent goes on": 3,
    }


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("VIMMON_CHECK_INTERVAL_S", "often", "VIMMON_CHECK_INTERVAL_S: "),
        ("VIMMON_CHECK_INTERVALL_S", "60", "the nearest is VIMMON_CHECK_INTERVAL_S"),
        ("VIMMON_REDIS_URL", "http://localhost", "VIMMON_REDIS_URL: begins with none of"),
        ("VIMMON_REDIS_URL", "redis://me:secret/1@localhost:6379", "VIMMON_REDIS_URL: its port"),
        ("VIMMON_REDIS_URL", "redis://localhost:port", "VIMMON_REDIS_URL: its port"),
    ],
)
def test_settings_that_cannot_be_used_are_told_to_mistral(variable: str, value: str, told: str) -> None:
    answers = in_a_process('print(json.dumps([run("tokyo"), run("tokyo"), hosts()]))', **{variable: value})
    assert answers[0].startswith("vimmon: ")
    assert told in answers[0]
    assert "Correct the variable" in answers[0] or "Write it like" in answers[0]
    assert answers[1:] == [answers[0], 0]


def test_a_redis_that_is_away_is_no_reason_to_refuse() -> None:
    assert in_a_process('print(json.dumps(run("tokyo")))', VIMMON_REDIS_URL="redis://127.0.0.1:1/0") is None


def test_an_executor_that_redis_has_not_heard_of_for_too_long_refuses_until_it_has(tmp_path: Path) -> None:
    """It counts as dead: what it takes on nobody would know of. Mistral hands the action out again."""
    port = free_port()
    found = in_a_process(
        """
import time
from pathlib import Path
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer

def until(wanted):
    deadline = time.monotonic() + 20
    vim = 0
    while time.monotonic() < deadline:
        vim += 1
        answer = run(f"vim-{vim}")
        if wanted(answer):
            return answer
        time.sleep(0.05)

answers = [run("tokyo"), until(lambda answer: answer is not None)]
with RedisServer(Path(FOLDER), port=PORT):
    answers.append(until(lambda answer: answer is None))
print(json.dumps(answers))
""".replace("FOLDER", repr(str(tmp_path))).replace("PORT", str(port)),
        VIMMON_REDIS_URL=f"redis://127.0.0.1:{port}/0",
        VIMMON_EXECUTOR_BEAT_S="0.2",
        VIMMON_EXECUTOR_TTL_S="1",
        VIMMON_UNKNOWN_AFTER_S="2",
    )
    taken, refused, taken_again = found
    assert (taken, taken_again) == (None, None)
    assert refused.startswith("vimmon: this executor has not reached Redis for 1 s")


async def ended(host: thread.HostThread) -> None:
    def end() -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    host._loop.call_soon_threadsafe(end)
    await eventually(lambda: not host.alive)


async def test_a_host_that_ended_is_followed_by_another(
    redis_server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIMMON_REDIS_URL", redis_server.url)
    PingVim("tokyo", "a1", 1, PROBE).run(None)
    first = thread._thread
    assert first is not None
    await ended(first)
    PingVim("tokyo", "a1", 1, PROBE).run(None)
    second = thread._thread
    assert second is not None
    assert second is not first
    await eventually(lambda: redis.hlen(f"vimmon:executor:{second.executor_id}:held") == 1)
    await ended(second)
