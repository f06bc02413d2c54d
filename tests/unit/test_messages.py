"""Reading and writing of requests and answers; the rest of what can be wrong is shown on a real Redis."""

import contextlib
import json
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vimmon.messages import (
    Answer,
    CallFailed,
    Refusal,
    Request,
    UpdateCall,
    UpdateVim,
    _read_envelope,
    answer,
    call,
    error,
    read_reply,
    read_request,
    read_update_vim,
)
from vimmon.vim import VimStatus

PREFIX = "vimmon:rpc:replies:"


def test_a_call_is_read_as_it_was_written() -> None:
    said = UpdateVim(
        vim_id="v",
        status=VimStatus.REACHABLE,
        action_id="a",
        generation=7,
        seq=12,
        holder="h",
        reason="HTTP 300 in 31 ms",
    )
    request = read_request(call("id-1", said, reply_to=f"{PREFIX}x", expires_at=5), replies_prefix=PREFIX)
    assert (request.id, request.reply_to, request.expires_at) == ("id-1", f"{PREFIX}x", 5)
    assert read_update_vim(request) == said


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(Refusal):
        assert isinstance(read_request(raw, replies_prefix=PREFIX), Request | UpdateCall)


USUAL = {
    "jsonrpc": '"2.0"', "id": '"1"', "method": '"update_vim"', "reply_to": f'"{PREFIX}x"', "expires_at": "5",
    "vim_id": '"v"', "status": '"REACHABLE"', "action_id": '"a"', "generation": "7", "seq": "12", "holder": '"h"',
    "reason": '"HTTP 300 in 31 ms"',
}  # fmt: skip
ENVELOPE = ("jsonrpc", "id", "method", "reply_to", "expires_at")
ODD = [
    *(
        "null",
        "true",
        "0",
        "-1",
        "7.0",
        "7.5",
        "1e3",
        "9007199254740992",
        "1180591620717411303424",
        "NaN",
        "1e999",
        "[]",
    ),
    *(
        '""',
        '"7"',
        '"a b"',
        '"\\u0000"',
        '"\\ud800"',
        '"é"',
        '"PENDING"',
        '"bad_action"',
        '"\\u0052EACHABLE"',
        "{}",
        "07",
    ),
    *(f'"{"x" * 65}"', f'"{"x" * 501}"', f'"{PREFIX}"', f'"{PREFIX}\\n"', '"2.1"', '"other"', '"', "'a'", "\ud800"),
]


@given(
    st.dictionaries(st.sampled_from(sorted(USUAL)), st.none() | st.sampled_from(ODD), max_size=2),
    st.lists(st.tuples(st.sampled_from([*USUAL, "colour"]), st.sampled_from([*ODD, *USUAL.values()])), max_size=1),
    st.sampled_from(["", " ", "x", "{}", "\0", "\ufeff"]),
)
def test_what_is_read_in_one_go_is_read_or_refused_as_in_two_steps(
    odd: dict[str, str | None], again: list[tuple[str, str]], around: str
) -> None:
    # What is no number in JSON is not looked at in one go where the same name comes again: only the last one counts.
    assume(not any(odd.get(name) in ("NaN", "1e999") for name, _ in again))
    fields = [(name, text) for name, text in (USUAL | odd).items() if text is not None] + again
    outside, inside = (
        ", ".join(f'"{name}": {text}' for name, text in fields if (name in ENVELOPE) == of_envelope)
        for of_envelope in (True, False)
    )
    text = f'{around}{{{outside}{", " if outside else ""}"params": {{{inside}}}}}{around}'
    raw = text.encode("utf-8", "surrogatepass")

    def outcome(read: Callable[[], Request | UpdateCall]) -> tuple[object, ...]:
        try:
            request = read()
            return request.id, request.reply_to, request.expires_at, request.method, read_update_vim(request)
        except Refusal as refusal:
            return refusal.code, refusal.message, refusal.id, refusal.reply_to

    assert outcome(lambda: read_request(raw, replies_prefix=PREFIX)) == outcome(lambda: _read_envelope(raw, PREFIX))


def test_a_call_of_the_usual_form_is_read_in_one_go() -> None:
    said = UpdateVim(vim_id="v", status=VimStatus.REACHABLE, action_id="a")
    raw = call("id-1", said, reply_to=f"{PREFIX}x", expires_at=5)
    assert isinstance(read_request(raw, replies_prefix=PREFIX), UpdateCall)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0"), "method": st.just("update_vim"), "params": JSON}, optional={"id": JSON}
    )
)
def test_any_parameters_are_read_or_refused_with_the_id_they_came_with(data: dict[str, object]) -> None:
    raw = json.dumps(data).encode()
    refusal = None
    try:
        read_update_vim(read_request(raw, replies_prefix=PREFIX))
    except Refusal as refused:
        refusal = refused
    assert refusal is None or refusal.id == data.get("id") or not isinstance(data.get("id"), str)


def test_a_refused_value_is_not_repeated() -> None:
    request = Request(jsonrpc="2.0", method="update_vim", params={"vim_id": "v", "action_id": "a", "status": "s3cr3t"})
    with pytest.raises(Refusal, match="status: not one of REACHABLE, UNREACHABLE, UNKNOWN") as caught:
        read_update_vim(request)
    assert "s3cr3t" not in caught.value.message


def test_answers_are_read_as_they_were_written() -> None:
    known = Answer(status=VimStatus.UNREACHABLE, applied=False, seq=9)
    assert read_reply(answer("i", known)) == ("i", known)
    assert read_reply(answer("i", Answer(status="bad_action"))) == ("i", Answer(status="bad_action"))
    id_, failed = read_reply(error("i", -32000, "the database is away"))
    assert id_ == "i"
    assert isinstance(failed, CallFailed)
    assert failed.code == -32000


DEEP = b"[" * 1015 + b"]" * 1015  # whose text cannot be had


def test_an_error_says_no_more_than_text() -> None:
    id_, failed = read_reply(b'{"id":"i","error":{"code":-1,"message":' + DEEP + b"}}")
    assert (id_, str(failed)) == ("i", " (-1)")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b'{"id":1}',
        b'{"id":1,"result":{"status":"FINE"}}',
        b'{"id":1,"result":{"status":' + DEEP + b"}}",
        b'{"id":1,"error":{"code":"x"}}',
        b'{"id":1,"error":{"code":null}}',
        b'{"id":1,"error":{"code":[]}}',
    ],
)
def test_what_is_no_answer_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of whatever kind: the reader skips it
        read_reply(raw)
