"""What becomes of messages that are too long, too deep, too many or just odd: their neighbours are answered as ever."""

import json
from typing import Any

import pytest

from tests.integration.bench import REPLIES, Bench, update_vim
from vimmon.conductor.requests import BATCH_MAX_BYTES, DEAD_MAX
from vimmon.lease.commands import Commands
from vimmon.lease.view import LeaseView
from vimmon.messages import REQUEST_MAX_BYTES

MIB = 1024 * 1024


def test_of_a_request_of_100_mib_the_beginning_is_kept_and_its_neighbours_are_answered(bench: Bench) -> None:
    vim = bench.registered()
    huge = update_vim(vim, seq=9, id="huge", reason="x" * (100 * MIB))
    bench.push(update_vim(vim, seq=1, id="before"), huge, update_vim(vim, seq=2, id="after"))
    bench.serve()
    assert [reply["id"] for reply in bench.replies()] == ["before", "after"]
    assert bench.row(vim)["status_seq"] == 2
    (kept,) = bench.redis.lrange(bench.keys.dead, 0, -1)
    assert len(kept) == REQUEST_MAX_BYTES
    assert json.dumps(huge).replace(" ", "").encode()[:100] == kept[:100]


def test_no_batch_holds_more_than_a_few_mib(bench: Bench) -> None:
    vim = bench.registered()
    bench.push(*[b"x" * MIB] * 20, update_vim(vim, seq=1, id="good"))
    taken = []
    while batch := bench.requests.take(100, block_s=0.01):
        taken.append(sum(map(len, batch.requests)))
        commands = Commands(bench.redis)
        bench.requests.acknowledge(commands, batch)
        commands.run()
    assert max(taken) <= BATCH_MAX_BYTES
    assert len(taken) == 6
    bench.push(b"x" * 2 * BATCH_MAX_BYTES)  # alone, it must get through all the same
    assert bench.server.serve_once(block_s=0.01) == 1


def test_a_reason_of_1_mib_is_no_request_and_one_of_600_characters_is_refused_by_name(bench: Bench) -> None:
    vim = bench.registered()
    bench.push(update_vim(vim, seq=1, reason="x" * MIB))
    bench.serve()
    assert bench.replies() == []
    assert bench.ask(update_vim(vim, seq=1, reason="x" * 600))["error"]["message"].startswith("reason: ")
    assert bench.row(vim)["status"] == "PENDING"


DEEP = 7000  # what fits into a request


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * 1500 + b"1" + b"}" * 1500,
        b'{"jsonrpc":"2.0","method":"update_vim","reply_to":"%s","id":"deep","params":{"vim_id":%s1%s}}'
        % (REPLIES.encode(), b"[" * DEEP, b"]" * DEEP),
        b'{"jsonrpc":"2.0","method":"update_vim","params":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
        b"!" + b"9" * 5000 + b" {}",  # a mark as a conductor makes, but of a number that Python does not even read
        b"!" + b"9" * 30 + b" {}",
        b"!7",
        b"!",
    ],
)
def test_what_is_too_deep_or_marked_by_somebody_else_hurts_nobody(bench: Bench, raw: bytes) -> None:
    vim = bench.registered()
    bench.push(raw, update_vim(vim, seq=1, id="good"))
    for taken, died in bench.requests.abandoned(older_than_s=0):
        bench.requests.give_back(taken, died=died)
    bench.serve()
    assert "good" in [reply["id"] for reply in bench.replies()]


def test_a_marked_request_survives_the_conductors_that_die_over_it(bench: Bench) -> None:
    bench.push(b"!" + b"9" * 5000 + b" {}")
    for _ in range(5):
        if bench.requests.take(1, block_s=0.01) is None:
            break
        for taken, died in bench.requests.abandoned(older_than_s=0):
            bench.requests.give_back(taken, died=died)
    bench.serve()
    assert bench.redis.llen(bench.keys.dead) == 1


def test_the_list_of_what_could_not_be_handled_is_bounded(bench: Bench) -> None:
    bench.push(*[b"x"] * (DEAD_MAX + 50))
    bench.serve()
    assert bench.redis.llen(bench.keys.dead) == DEAD_MAX


def test_replies_that_nobody_takes_end_however_many_come(bench: Bench) -> None:
    vim = bench.registered()
    bench.push(update_vim(vim, seq=1))
    bench.serve()
    bench.redis.pexpire(REPLIES, 20_000)  # as if the first had been waiting for 40 s
    bench.push(update_vim(vim, seq=2))
    bench.serve()
    assert bench.redis.llen(REPLIES) == 2
    assert 0 < bench.redis.pttl(REPLIES) <= 20_000


@pytest.mark.parametrize("name", [b"\xff\xfe", b"", b"a" * 5000, "mistral-1:é".encode()])
def test_an_odd_name_among_the_executors_hides_no_lease(bench: Bench, name: bytes) -> None:
    vim = bench.registered()
    executor = "mistral-1:42:ab12"
    bench.redis.zadd(bench.keys.executors, {name: 2})
    bench.redis.zadd(bench.keys.executors, {executor: 1})
    bench.redis.hset(bench.keys.executor(executor), "monitors", "1")
    bench.redis.expire(bench.keys.executor(executor), 30)
    held: dict[Any, Any] = {vim.id: f"1:{vim.action_id}", b"\xff": b"\xff"}
    bench.redis.hset(bench.keys.held(executor), mapping=held)
    (report,) = LeaseView(bench.redis, bench.keys).report([vim])
    assert [holder.executor for holder in report.holders] == [executor]
    assert report.differences == ()
