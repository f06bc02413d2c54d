"""What becomes of each kind of request, on a real Redis and a real database."""

import gc
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis
from sqlalchemy import text

from tests.integration.bench import REPLIES, Bench, update_vim
from vimmon.conductor import events
from vimmon.registry.database import open_engine

HOLDER = "executor-1:42:aa:bb"


def test_a_status_is_written_and_answered(bench: Bench) -> None:
    vim = bench.registered()
    reply = bench.ask(update_vim(vim, seq=1, holder=HOLDER, reason="HTTP 300 in 31 ms", id="first"))
    assert reply == {"jsonrpc": "2.0", "id": "first", "result": {"status": "REACHABLE"}}
    row = bench.row(vim)
    assert (row["status"], row["reason"], row["status_seq"], row["holder"]) == (
        "REACHABLE",
        "HTTP 300 in 31 ms",
        1,
        HOLDER,
    )
    assert bench.redis.get(bench.keys.status(vim.id)) == f"1:1:REACHABLE:{HOLDER}".encode()


def test_a_change_is_announced_in_the_stream_and_a_repeat_is_not(bench: Bench) -> None:
    vim = bench.registered()
    for seq, status in enumerate(["REACHABLE", "REACHABLE", "UNREACHABLE"], start=1):
        bench.ask(update_vim(vim, status, seq=seq))
    events = [fields for _, fields in cast(list[Any], bench.redis.xrange(bench.keys.events))]
    assert [(fields[b"old"], fields[b"new"]) for fields in events] == [
        (b"PENDING", b"REACHABLE"),
        (b"REACHABLE", b"UNREACHABLE"),
    ]


@pytest.mark.parametrize(
    "raw", [b"{not json", b"\xff\xfe", b"", b"[]", b'"text"', b"7", b"null", b"!5 {}", b"{" + b" " * 20000 + b"}"]
)
def test_what_nobody_can_be_answered_for_is_buried(bench: Bench, raw: bytes) -> None:
    vim = bench.registered()
    bench.push(raw, update_vim(vim, seq=1, id="good"))
    bench.serve()
    assert [reply["id"] for reply in bench.replies()] == ["good"]
    assert bench.redis.llen(bench.keys.dead) == 1


def test_an_unknown_method_is_refused(bench: Bench) -> None:
    reply = bench.ask({**update_vim(bench.registered()), "method": "drop_tables"})
    assert reply["error"] == {"code": -32601, "message": "method: not one of update_vim"}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"status": "FINE"}, "status"),
        ({"status": "PENDING"}, "status"),
        ({"vim_id": None}, "vim_id"),
        ({"vim_id": ""}, "vim_id"),
        ({"vim_id": "a\0b"}, "vim_id"),
        ({"vim_id": 7}, "vim_id"),
        ({"action_id": None}, "action_id"),
        ({"generation": -1}, "generation"),
        ({"generation": "one"}, "generation"),
        ({"seq": 0}, "seq"),
        ({"seq": 2**63}, "seq"),
        ({"seq": 1.5}, "seq"),
        ({"holder": ""}, "holder"),
        ({"holder": "a b"}, "holder"),
        ({"reason": "x" * 501}, "reason"),
        ({"reason": "a\0b"}, "reason"),
        ({"colour": "green"}, "colour"),
    ],
)
def test_wrong_parameters_are_refused_by_name_and_nothing_is_written(
    bench: Bench, changed: dict[str, Any], field: str
) -> None:
    vim = bench.registered()
    before = bench.row(vim)
    error = bench.ask(update_vim(vim, **changed) if "status" not in changed else update_vim(vim, changed["status"]))[
        "error"
    ]
    assert error["code"] == -32602
    assert error["message"].startswith(f"{field}: ")
    assert bench.row(vim) == before


def test_a_refused_request_leaves_no_more_rubbish_behind_than_a_good_one(bench: Bench) -> None:
    """A ring of objects that held it would hold its whole batch, until Python looks for such rings."""
    vim = bench.registered()

    def rubbish(request: dict[str, Any]) -> int:
        gc.collect()
        bench.ask(request)
        return gc.collect()

    gc.disable()
    try:
        assert rubbish(update_vim(vim, "FINE")) <= rubbish(update_vim(vim, seq=1))
    finally:
        gc.enable()


def test_parameters_that_are_no_object_are_refused(bench: Bench) -> None:
    reply = bench.ask({**update_vim(bench.registered()), "params": ["REACHABLE"]})
    assert reply["error"]["code"] == -32600
    assert reply["error"]["message"].startswith("params: ")


@pytest.mark.parametrize("reply_to", ["vimmon:lease:x", "rq:queue:vimmon:high:priority", "vimmon:rpc:replies:", 7, []])
def test_an_answer_never_goes_outside_the_replies(bench: Bench, reply_to: Any) -> None:
    vim = bench.registered()
    keys_before = set(bench.redis.keys())
    bench.push({**update_vim(vim, seq=1), "reply_to": reply_to})
    bench.serve()
    assert set(bench.redis.keys()) - keys_before == {bench.keys.dead.encode()}
    assert bench.row(vim)["status"] == "PENDING"


def test_an_expired_request_is_dropped(bench: Bench) -> None:
    vim = bench.registered()
    now_ms = bench.leases.now_ms()
    bench.push(
        {**update_vim(vim, "UNREACHABLE", seq=1, id="late"), "expires_at": now_ms - 1},
        {**update_vim(vim, "REACHABLE", seq=1, id="in time"), "expires_at": now_ms + 60_000},
    )
    bench.serve()
    assert [reply["id"] for reply in bench.replies()] == ["in time"]
    assert bench.row(vim)["status"] == "REACHABLE"


@pytest.mark.parametrize("cache", ["kept", "flushed"])
def test_the_same_request_twice_is_written_once(bench: Bench, cache: str) -> None:
    vim = bench.registered()
    request = update_vim(vim, seq=1, holder=HOLDER)
    bench.ask(request)
    before = bench.row(vim)
    if cache == "flushed":
        bench.redis.flushall()
    assert bench.ask(request)["result"] == {"status": "REACHABLE", "applied": False, "seq": 1}
    assert bench.row(vim) == before
    assert bench.changes(vim) == ["REACHABLE"]


@pytest.mark.parametrize("cache", ["kept", "flushed"])
def test_an_older_seq_after_a_newer_one_changes_nothing(bench: Bench, cache: str) -> None:
    vim = bench.registered()
    bench.ask(update_vim(vim, "UNREACHABLE", seq=5, holder=HOLDER))
    before = bench.row(vim)
    if cache == "flushed":
        bench.redis.flushall()
    reply = bench.ask(update_vim(vim, "REACHABLE", seq=4, holder=HOLDER))
    assert reply["result"] == {"status": "UNREACHABLE", "applied": False, "seq": 5}
    assert bench.row(vim) == before


def test_without_a_seq_the_next_one_is_meant_and_the_cache_never_answers(bench: Bench) -> None:
    vim = bench.registered()
    for status in ("REACHABLE", "UNREACHABLE", "REACHABLE"):
        assert bench.ask(update_vim(vim, status))["result"] == {"status": status}
    assert bench.row(vim)["status_seq"] == 3


def test_an_unknown_vim_is_a_bad_action(bench: Bench) -> None:
    vim = bench.registered().model_copy(update={"id": "00000000-0000-0000-0000-000000000000"})
    assert bench.ask(update_vim(vim, seq=1))["result"] == {"status": "bad_action"}


@pytest.mark.parametrize("redis_knows", [True, False])
def test_a_deregistered_vim_is_a_bad_action_and_its_row_stays_as_it_is(bench: Bench, redis_knows: bool) -> None:
    vim = bench.registered()
    bench.ask(update_vim(vim, seq=1))
    bench.vims.deregister(vim.id)
    before = bench.row(vim)
    if not redis_knows:
        bench.redis.flushall()
    assert bench.ask(update_vim(vim, "UNREACHABLE", seq=2))["result"] == {"status": "bad_action"}
    assert bench.row(vim) == before


@pytest.mark.parametrize("cache", ["behind", "up to date", "flushed"])
@pytest.mark.parametrize("generation", ["its own", "left out", "the new one", "a later one"])
def test_an_old_action_is_a_bad_action_and_not_one_column_changes(bench: Bench, generation: str, cache: str) -> None:
    old = bench.registered()
    bench.ask(update_vim(old, seq=7))
    new = bench.restarted(old)
    if cache == "up to date":
        bench.ask(update_vim(new, "UNREACHABLE", seq=1))
    elif cache == "flushed":
        bench.redis.flushall()
    before = bench.row(new)
    said = {"its own": 1, "left out": None, "the new one": 2, "a later one": 9}[generation]
    assert bench.ask(update_vim(old, "REACHABLE", seq=100, generation=said))["result"] == {"status": "bad_action"}
    assert bench.row(new) == before


@pytest.mark.parametrize("cache", ["kept", "flushed"])
def test_a_second_holder_of_the_same_action_is_a_bad_action(bench: Bench, cache: str) -> None:
    vim = bench.registered()
    bench.ask(update_vim(vim, seq=1, holder=HOLDER))
    if cache == "flushed":
        bench.redis.flushall()
    before = bench.row(vim)
    other = update_vim(vim, "UNREACHABLE", seq=2, holder="executor-2:7:cc:dd")
    assert bench.ask(other)["result"] == {"status": "bad_action"}
    assert bench.row(vim) == before


@pytest.mark.parametrize(
    "lease", ["missing", "0:another", "garbage", "", "7", ":", "1:", "-1:x", b"\xff\xfe", "a list"]
)
def test_the_wanted_action_is_accepted_whatever_the_lease_and_the_lease_is_mended(bench: Bench, lease: Any) -> None:
    vim = bench.registered()
    key = bench.keys.lease(vim.id)
    bench.redis.delete(key)
    if lease == "a list":
        bench.redis.rpush(key, "1")
    elif lease != "missing":
        bench.redis.set(key, lease)
    assert bench.ask(update_vim(vim, seq=1))["result"] == {"status": "REACHABLE"}
    assert bench.row(vim)["status"] == "REACHABLE"
    assert bench.redis.get(key) == f"1:{vim.action_id}".encode()


LIES = {
    "status": "1:3:UNREACHABLE:{holder}",
    "seq ahead": "1:99:REACHABLE:{holder}",
    "status and seq": "1:99:UNREACHABLE:{holder}",
    "seq behind": "1:1:REACHABLE:{holder}",
    "holder": "1:99:UNREACHABLE:somebody-else",
    "generation behind": "0:99:UNREACHABLE:{holder}",
    "generation ahead": "5:99:UNREACHABLE:{holder}",
    "garbage": "rubbish",
}


@pytest.mark.parametrize("status", ["REACHABLE", "UNREACHABLE"])
@pytest.mark.parametrize("lie", list(LIES))
def test_a_status_key_that_lies_keeps_no_news_from_the_row(bench: Bench, lie: str, status: str) -> None:
    vim = bench.registered()
    bench.ask(update_vim(vim, "REACHABLE", seq=3, holder=HOLDER))
    bench.redis.set(bench.keys.status(vim.id), LIES[lie].format(holder=HOLDER))
    answer = bench.ask(update_vim(vim, status, seq=4, holder=HOLDER))["result"]
    if answer.get("applied") is False:  # told of a seq it never used: what a monitor then does is to say it anew
        assert answer["seq"] == 99
        answer = bench.ask(update_vim(vim, status, seq=100, holder=HOLDER))["result"]
    assert answer == {"status": status}
    assert bench.row(vim)["status"] == status


def test_one_request_that_breaks_the_transaction_does_not_fail_the_others(bench: Bench) -> None:
    vims = [bench.registered(f"vim-{number}") for number in range(5)]
    with bench.engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER poison BEFORE UPDATE ON vims WHEN NEW.name = 'vim-2' "
                "BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
            )
        )
    bench.push(*[update_vim(vim, seq=1, id=vim.name) for vim in vims])
    bench.serve()
    replies = {reply["id"]: reply for reply in bench.replies()}
    assert replies["vim-2"]["error"]["code"] == -32603
    assert "poisoned" in replies["vim-2"]["error"]["message"]
    for vim in vims:
        if vim.name != "vim-2":
            assert replies[vim.name]["result"] == {"status": "REACHABLE"}
            assert bench.row(vim)["status"] == "REACHABLE"


def test_a_database_that_is_away_is_answered_with_try_again(bench: Bench, redis: Redis) -> None:
    vim = bench.registered()
    broken = Bench(redis, open_engine("postgresql://nobody@127.0.0.1:1/none"))
    assert broken.ask(update_vim(vim, seq=1))["error"]["code"] == -32000
    assert bench.ask(update_vim(vim, seq=1))["result"] == {"status": "REACHABLE"}


def test_a_database_without_tables_is_answered_with_try_again(bench: Bench, redis: Redis, tmp_path: Path) -> None:
    empty = Bench(redis, open_engine(f"sqlite:///{tmp_path}/empty.sqlite"))
    assert empty.ask(update_vim(bench.registered(), seq=1))["error"]["code"] == -32000


def test_a_reply_list_of_another_type_is_its_owners_trouble_alone(bench: Bench) -> None:
    vim = bench.registered()
    bench.redis.set(f"{REPLIES}:odd", "not a list")
    bench.push({**update_vim(vim, seq=1), "reply_to": f"{REPLIES}:odd"}, update_vim(vim, "UNREACHABLE", seq=2, id="b"))
    bench.serve()
    assert [reply["id"] for reply in bench.replies()] == ["b"]
    assert bench.redis.keys("vimmon:rpc:taken*") == []


def test_a_request_without_reply_to_is_carried_out_and_not_answered(bench: Bench) -> None:
    vim = bench.registered()
    request = update_vim(vim, seq=1)
    del request["reply_to"]
    bench.push(request)
    bench.serve()
    assert bench.row(vim)["status"] == "REACHABLE"
    assert bench.replies() == []


def test_a_batch_keeps_the_order_in_which_one_vim_spoke(bench: Bench) -> None:
    vim = bench.registered()
    bench.push(*[update_vim(vim, status, seq=seq) for seq, status in enumerate(["REACHABLE", "UNREACHABLE"] * 20, 1)])
    bench.serve()
    assert bench.changes(vim) == ["REACHABLE", "UNREACHABLE"] * 20
    assert bench.row(vim)["status_seq"] == 40


def test_redis_cli_can_make_the_call(bench: Bench) -> None:
    vim = bench.registered()
    request = (
        f'{{"jsonrpc":"2.0","id":"cli","method":"update_vim","params":{{"vim_id":"{vim.id}","status":"UNREACHABLE",'
        f'"action_id":"{vim.action_id}"}},"reply_to":"{REPLIES}"}}'
    )
    assert bench.ask(request.encode())["result"] == {"status": "UNREACHABLE"}
    assert bench.row(vim)["holder"] == "anonymous"


def test_the_stream_of_events_keeps_about_the_latest(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis lets whole nodes of a hundred go."""
    monkeypatch.setattr(events, "EVENTS_MAX", 100)
    vims = [bench.registered(f"vim-{number}") for number in range(40)]
    for seq in range(1, 11):
        bench.push(*[update_vim(vim, ("UNREACHABLE", "REACHABLE")[seq % 2], seq=seq) for vim in vims])
        bench.serve()
    assert 100 <= bench.redis.xlen(bench.keys.events) <= 240
    ((_, newest),) = cast(Any, bench.redis.xrevrange(bench.keys.events, count=1))
    assert (newest[b"old"], newest[b"new"]) == (b"REACHABLE", b"UNREACHABLE")
