"""One function a parser: it says by `assert` what must hold of what is accepted. An unexpected exception is a find.

None may change anything outside of the process, or take long: they are called some thousand times a second.
"""

import os
import re
from contextlib import suppress
from datetime import timedelta
from typing import Final

import orjson

from vimmon.actions.connection import connect as connect_asyncio
from vimmon.actions.monitor import parse_assignment
from vimmon.actions.probing.http import _url
from vimmon.actions.probing.presets import PRESETS, judge_keystone
from vimmon.cli.probe_option import for_update, parse_probe_option
from vimmon.conductor.methods import answer_from_cache
from vimmon.errors import InvalidInput, SettingsError, TackerUnreadable, VimmonError
from vimmon.lease.acl import executor_access
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.lease.model import LEAP_MAX, CommittedStatus, Lease, Verdict, judge, parse_lease, parse_status
from vimmon.lease.store import Cached
from vimmon.lease.view import _executor_of, _time
from vimmon.log import event
from vimmon.messages import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    Answer,
    CallFailed,
    Refusal,
    answer,
    call,
    error,
    read_reply,
    read_request,
    read_update_vim,
)
from vimmon.probes import HttpPreset, HttpProbe, parse_probe, probe_for
from vimmon.settings import Settings, load_settings
from vimmon.tacker.client import read_page
from vimmon.tacker.following import following_of
from vimmon.tacker.listing import read_listing
from vimmon.tacker.plan import plan, told_apart
from vimmon.vim import VimStatus, VimType, check_name, parse_auth_url

REPLIES: Final = "vimmon:rpc:replies:"
SECRET: Final = "s3cr3tpassw0rd"
KEYSTONE_PROBE: Final = HttpProbe(auth_url="http://h:1", preset=HttpPreset.KEYSTONE)
KNOWN: Final = sorted(f"VIMMON_{name.upper()}" for name in Settings.model_fields)


def keeps_secret(shown: object) -> None:
    assert SECRET not in (f"{shown}{shown.remedy}" if isinstance(shown, VimmonError) else repr(shown))


def is_answerable(refusal: Refusal) -> None:
    assert refusal.code in (PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS)
    assert refusal.reply_to is None or refusal.reply_to.startswith(REPLIES)
    assert orjson.loads(error(refusal.id, refusal.code, refusal.message))["error"]["code"] == refusal.code


def request(data: bytes) -> None:
    try:
        read = read_request(data, replies_prefix=REPLIES)
        update = read_update_vim(read)
    except Refusal as refusal:
        is_answerable(refusal)
        return
    assert len(update.reason) <= 500
    assert "\n" not in event("x", reason=update.reason, holder=update.holder, vim_id=update.vim_id)
    assert (read.reply_to or REPLIES).startswith(REPLIES)
    again = read_request(call("i", update, reply_to=f"{REPLIES}x", expires_at=read.expires_at), replies_prefix=REPLIES)
    assert read_update_vim(again) == update
    assert orjson.loads(answer(read.id, Answer(status=update.status)))["result"] == {"status": update.status}
    lease = Lease(7, "a")
    for cached in (Cached(None, None), Cached(lease, CommittedStatus(7, 3, VimStatus.REACHABLE, update.holder))):
        assert answer_from_cache(update, cached) is None or update.generation is not None


def reply(data: bytes) -> None:
    with suppress(ValueError, TypeError, OverflowError):  # as the caller does
        request_id, said = read_reply(data)
        assert isinstance(said, Answer | CallFailed)
        assert "\n" not in event("x", id=str(request_id), said=said)


def lease(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    found = parse_lease(text)
    assert parse_lease(None) is None
    if found is None:
        assert judge(found, generation=1, action_id="a") == Verdict.ASK
        return
    assert 0 <= found.generation < 10**15
    assert parse_lease(str(found)) == found
    verdict = judge(found, generation=5, action_id="a")
    assert (verdict == Verdict.EXIT) <= (5 <= found.generation <= 5 + LEAP_MAX)
    assert (verdict == Verdict.HELD) == (found == Lease(5, "a"))


def status(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    found = parse_status(text)
    _executor_of(text)
    _time(text)
    if found is not None:
        assert 0 <= found.generation < 10**15
        assert 0 <= found.seq < 10**15
        assert parse_status(str(found)) == found


def auth_url(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with suppress(InvalidInput):
        check_name(text)
    try:
        target = parse_auth_url(text)
    except InvalidInput as refused:
        keeps_secret(refused)
        return
    assert SECRET not in text.partition("@")[0] or "@" not in text.split("/")[2]
    assert target.host
    assert 1 <= target.port <= 65535
    assert not set(target.host) & set(" /\\@?#[]")
    for preset in PRESETS.values():
        assert str(_url(target, preset.path(target.path))).startswith(("http://", "https://"))
    for vim_type in VimType:
        assert probe_for(vim_type, text).auth_url == text


def probe(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        given = parse_probe_option(text)
        assert given is not None
        found = probe_for(VimType.GENERIC, "http://h:1", given)
    except InvalidInput:
        return
    assert parse_probe(found.model_dump(mode="json")) == found
    assert 0.05 <= found.timeout_s <= 60
    assert 0.05 <= found.confirm_interval_s <= found.interval_s <= 3600
    assert found.model_dump(mode="json") == orjson.loads(orjson.dumps(found.model_dump(mode="json")))
    assert for_update(given, found.settings()) is not None


def assignment(data: bytes) -> None:
    """What Mistral hands to the action: JSON that may have been changed by hand."""
    try:
        inputs = orjson.loads(data)
        names = [inputs["vim_id"], inputs["action_id"], inputs["generation"], inputs["probe"]]
    except (ValueError, TypeError, LookupError):
        return
    with suppress(InvalidInput):
        found = parse_assignment(*names)
        assert found.vim_id
        assert found.generation >= 0


def settings(data: bytes) -> None:
    """Lines NAME=value; a name may be the number of a known one."""
    environ = {"VIMMON_ENV_FILE": os.devnull}
    for line in data.decode("utf-8", "replace").replace("\0", "").splitlines():
        name, _, value = line.partition("=")
        if SECRET not in name:  # nobody writes one there, and a wrong name is repeated
            environ[KNOWN[int(name) % len(KNOWN)] if re.fullmatch("[0-9]{1,3}", name) else name] = value
    try:
        found = load_settings(environ)
    except SettingsError as refused:
        keeps_secret(refused)
        return
    if SECRET not in f"{found.mistral_url} {found.prefix} {found.executor_name}":  # where none is looked for
        keeps_secret(found)
    for field, value in found.model_dump().items():
        if field.endswith("_s") and value is not None:
            assert 0 < round(value * 1000) < 2**53, field
            timedelta(seconds=10 * value)
    timedelta(days=found.history_days)
    executor_access(found.executor_name, Keys(found.prefix))


def redis_url(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        url = Settings.model_validate({"redis_url": text})
        blocking, looping = connect(url), connect_asyncio(url)
    except SettingsError as refused:
        keeps_secret(refused)
        return
    if not text.startswith("redis"):
        return
    authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]  # newer Pythons may not split it
    password = authority.rpartition("@")[0].partition(":")[2]
    for client in (blocking, looping):
        if SECRET in password and text.count(SECRET) == 1:  # elsewhere it is none
            keeps_secret(client)
        if "sentinel" not in text.partition(":")[0]:
            client.connection_pool.make_connection()  # that no option is one too many


def keystone(data: bytes) -> None:
    """What a VIM answers."""
    for code in (200, 300):
        said = judge_keystone(KEYSTONE_PROBE, code, data)
        assert said is None or said.isprintable()


def tacker(data: bytes) -> None:
    """A page of Tacker's list."""
    try:
        entries, marker = read_page(data)
    except TackerUnreadable as refused:
        keeps_secret(refused)
        return
    assert marker is None or marker
    found = read_listing(entries)
    assert set(found.watched) <= found.mentioned
    assert not set(found.watched) & {one.vim_id for one in found.not_watched}
    for skipped in found.not_watched:
        assert SECRET not in skipped.reason or not skipped.reason.startswith("auth_url")
        orjson.dumps([skipped.vim_id, skipped.name, skipped.reason])
    planned = plan(found, [], None, now_ms=1)
    names = [naming.name for naming in planned.register]
    assert len(set(names)) == len(names) == len(found.watched)
    for naming in planned.register:
        for name in (naming.name, *told_apart(naming.listed)):
            check_name(name)
        parse_auth_url(naming.listed.auth_url)
        assert SECRET not in naming.listed.auth_url.partition("://")[2].rpartition("@")[0]


def following(data: bytes) -> None:
    """What stands in Redis of following Tacker: lines FIELD=VALUE."""
    fields = {field: value for field, _, value in (line.partition(b"=") for line in data.split(b"\n"))}
    said = following_of(fields)
    doubt = said.doubted()
    assert doubt is None or doubt.times >= 1
    assert (
        following_of({name.encode(): orjson.dumps(value) for name, value in said.model_dump(mode="json").items()})
        == said
    )
