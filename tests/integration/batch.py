"""A batch of requests in which all is that may go wrong, and what must have become of it whatever did."""

from collections import defaultdict
from typing import Any

from tests.integration.bench import Bench, update_vim, upkeep
from vimmon.vim import Vim


def said(vims: list[Vim], old: Vim) -> list[dict[str, Any]]:
    """Statuses of several VIMs, two of the first, one repeated, and one in the name of an action that is not wanted."""
    first, *others = vims
    return [
        update_vim(first, "REACHABLE", seq=1, id="first"),
        *[update_vim(vim, "REACHABLE", seq=1, id=vim.name) for vim in others],
        update_vim(first, "UNREACHABLE", seq=2, id="second"),
        update_vim(first, "UNREACHABLE", seq=2, id="second"),
        update_vim(old, "UNREACHABLE", seq=50, id="old"),
    ]


def settle(bench: Bench) -> None:
    """Another conductor comes, and does all that one does."""
    chores = upkeep(bench)
    while chores.enter_missing() or chores.fetch_back() or bench.redis.llen(bench.keys.requests):
        bench.serve()


def check(bench: Bench, vims: list[Vim], old: Vim) -> None:
    answers = defaultdict(list)
    for reply in bench.replies():
        answers[reply["id"]].append(reply["result"])
    assert set(answers) == {"first", "second", "old", *[vim.name for vim in vims[1:]]}
    assert {answer["status"] for answer in answers["second"]} == {"UNREACHABLE"}
    assert {answer["status"] for answer in answers["old"]} == {"bad_action"}
    first, *others = vims
    assert bench.changes(first) == ["REACHABLE", "UNREACHABLE"]
    assert (bench.row(first)["status"], bench.row(first)["status_seq"]) == ("UNREACHABLE", 2)
    for vim in others:
        assert {answer["status"] for answer in answers[vim.name]} == {"REACHABLE"}
        assert bench.changes(vim) == ["REACHABLE"]
    assert bench.changes(old) == []
    assert bench.redis.keys("vimmon:rpc:taken*") == []
    assert bench.redis.llen(bench.keys.dead) == 0
