"""Files that TLS contexts are made from: they are read where nobody waits behind them, and again when they change."""

import asyncio
import os
import ssl
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.securing import Clock, hanging, secure
from tests.support.authority import Authority
from tests.support.descriptors import no_more_files
from tests.support.polling import eventually, until
from tests.support.servers import DOWN, UNKNOWN, UP, VERSIONS, Web, check, new_prober, serving
from vimmon.actions.probing import Prober, tls, tls_files
from vimmon.probes import Outcome


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def prober(authority: Authority, clock: Clock) -> AsyncIterator[Prober]:
    async with new_prober(clock=clock) as prober:
        yield prober


async def test_a_file_that_changes_is_read_again(
    prober: Prober, authority: Authority, clock: Clock, tmp_path: Path
) -> None:
    private = Authority(tmp_path, "private")
    async with serving(Web(300, VERSIONS), tls=private.server()) as port:
        probe = secure(port, ca_file=tmp_path / "ca.pem")
        missing = f"cannot probe: ca_file: no such file or directory ({tmp_path}/ca.pem)"
        check(await prober.probe(probe), UNKNOWN, missing)
        (tmp_path / "ca.pem").write_bytes(authority.file.read_bytes())
        clock.pass_a_look()
        check(await prober.probe(probe), DOWN, "certificate not trusted")
        (tmp_path / "new.pem").write_bytes(private.file.read_bytes())
        os.replace(tmp_path / "new.pem", tmp_path / "ca.pem")
        clock.pass_a_look()
        check(await prober.probe(probe), UP, "HTTP 300")


async def test_a_file_that_could_not_be_read_for_a_moment_is_read_again(
    prober: Prober, authority: Authority, clock: Clock
) -> None:
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        probe = secure(port, ca_file=authority.file)
        reason = f"cannot probe: ca_file: too many open files ({authority.file})"
        with no_more_files():
            check(await prober.probe(probe), UNKNOWN, reason)
        check(await prober.probe(probe), UNKNOWN, reason)
        clock.pass_a_look()
        check(await prober.probe(probe), UP, "HTTP 300")


async def test_new_permissions_of_a_file_are_a_change(prober: Prober, authority: Authority, clock: Clock) -> None:
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        probe = secure(port, ca_file=authority.file)
        check(await prober.probe(probe), UP, "HTTP 300")
        [before] = [made for how, (made, _) in prober._shared.contexts._made.items() if how.ca_file]
        authority.file.chmod(0o640)
        clock.pass_a_look()
        check(await prober.probe(probe), UP, "HTTP 300")
        [after] = [made for how, (made, _) in prober._shared.contexts._made.items() if how.ca_file]
    assert after.context is not before.context


async def test_the_hosts_own_cas_are_read_again_when_they_change(
    prober: Prober, authority: Authority, clock: Clock, tmp_path: Path
) -> None:
    new = Authority(tmp_path, "new")
    async with serving(Web(300, VERSIONS), tls=new.server()) as port:
        check(await prober.probe(secure(port)), DOWN, "certificate not trusted")
        os.replace(new.file, authority.file)
        clock.pass_a_look()
        check(await prober.probe(secure(port)), UP, "HTTP 300")


async def test_a_context_is_made_once_for_all_probes_with_the_same_files(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = tls_files._context

    def count(how: tls_files.How, note: tls_files.Note) -> ssl.SSLContext | Outcome:
        made.append(how)
        return make(how, note)

    monkeypatch.setattr(tls_files, "_context", count)
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        for _ in range(3):
            check(await prober.probe(secure(port)), UP, "HTTP 300")
            check(await prober.probe(secure(port, ca_file=authority.file)), UP, "HTTP 300")
            clock.pass_a_look()
    assert len(made) == 2


async def test_files_are_looked_at_in_threads_and_not_at_every_probe(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    stat = os.stat

    def note(file: str, **settings: Any) -> os.stat_result:
        if file == str(authority.file):
            threads.append(threading.current_thread())
        return stat(file, **settings)

    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        probe = secure(port, ca_file=authority.file)
        check(await prober.probe(probe), UP, "HTTP 300")
        monkeypatch.setattr(os, "stat", note)
        for _ in range(3):
            check(await prober.probe(probe), UP, "HTTP 300")
        assert not threads
        clock.pass_a_look()
        for _ in range(3):
            check(await prober.probe(probe), UP, "HTTP 300")
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_no_more_contexts_are_kept_than_allowed_and_the_latest_are(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "CONTEXTS_MAX", 2)
    probes = {"none": secure(1, verify=False), "own": secure(1), "ca": secure(1, ca_file=authority.file)}
    for name in ("none", "own", "none", "ca"):
        check(await prober.probe(probes[name]), DOWN, "connection refused")
        clock.pass_a_look()
    kept = [(how.verify, how.ca_file) for how in prober._shared.contexts._made]
    assert kept == [(False, None), (True, str(authority.file))]


# Files that hang


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file", "client_key_file"])
async def test_a_file_that_cannot_be_read_in_time_holds_up_nobody_else(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setattr(tls, "READING_S", 0.8)
    certificate, key = authority.sign("client")
    files: dict[str, Any] = {"ca_file": authority.file, "client_cert_file": certificate, "client_key_file": key}
    reason = f"cannot probe: reading {setting} takes too long ({files[setting]})"
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        probe = secure(port, timeout_s=0.2, **files)
        with hanging(files[setting]):
            held_up = asyncio.ensure_future(prober.probe(probe))
            check(await prober.probe(secure(port, verify=False)), UP, "HTTP 300")
            assert not held_up.done()
            check(await held_up, UNKNOWN, reason)
            check(await prober.probe(probe), UNKNOWN, reason)
            assert sum(each.name == "vimmon-tls-files" for each in threading.enumerate()) == 1
        await eventually(lambda: not prober._shared.contexts._readings)
        check(await prober.probe(probe), UP, "HTTP 300")


async def test_the_time_to_read_files_does_not_count_against_the_vim(prober: Prober, authority: Authority) -> None:
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        with hanging(authority.file):
            held_up = asyncio.ensure_future(prober.probe(secure(port, ca_file=authority.file, timeout_s=1)))
            await asyncio.sleep(1.2)
        outcome = await held_up
    check(outcome, UP, "HTTP 300")
    assert outcome.rtt_ms is not None
    assert 0 < outcome.rtt_ms < 1000


async def test_what_was_read_stays_in_use_when_its_file_hangs(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "READING_S", 0.1)
    async with serving(Web(300, VERSIONS), tls=authority.server()) as port:
        probe = secure(port, ca_file=authority.file)
        check(await prober.probe(probe), UP, "HTTP 300")
        os.utime(authority.file, (0, 0))
        clock.pass_a_look()
        with hanging(authority.file):
            check(await prober.probe(probe), UP, "HTTP 300")
            assert prober._shared.contexts._readings
        await eventually(lambda: not prober._shared.contexts._readings)


async def test_no_more_files_are_read_at_once_than_allowed(
    prober: Prober, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "READING_S", 0.1)
    monkeypatch.setattr(tls, "READING_MAX", 1)
    with hanging(authority.file):
        assert (await prober.probe(secure(1, ca_file=authority.file))).status == UNKNOWN
        reason = "cannot probe: reading the files of TLS takes too long, for 1 probes"
        check(await prober.probe(secure(1, verify=False)), UNKNOWN, reason)
    await eventually(lambda: not prober._shared.contexts._readings)
    monkeypatch.undo()
    check(await prober.probe(secure(1, verify=False)), DOWN, "connection refused")


async def test_without_a_thread_to_read_files_nothing_is_said_of_the_vim(
    prober: Prober, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        reason = "cannot probe: no thread can be started to read the files of TLS"
        check(await prober.probe(secure(1, verify=False)), UNKNOWN, reason)
    check(await prober.probe(secure(1, verify=False)), DOWN, "connection refused")


async def test_a_bug_in_reading_files_escapes_to_the_probe(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(tls, "look", broken)
        with pytest.raises(ZeroDivisionError):
            await prober.probe(secure(1, verify=False))
    check(await prober.probe(secure(1, verify=False)), DOWN, "connection refused")


def test_files_that_are_read_when_nobody_waits_any_more_are_no_error(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)

    async def begin() -> None:
        contexts = tls.TlsContexts(time.monotonic)
        reading = asyncio.ensure_future(contexts.of(secure(1, ca_file=authority.file)))
        await eventually(lambda: contexts._readings)
        reading.cancel()

    with hanging(authority.file):
        asyncio.run(begin())
    until(lambda: not any(each.name == "vimmon-tls-files" for each in threading.enumerate()))
    assert errors == []


async def test_who_comes_when_the_time_to_read_a_file_is_over_is_told_at_once(
    prober: Prober, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "READING_S", 0.1)
    probe = secure(1, ca_file=authority.file)
    reason = f"cannot probe: reading ca_file takes too long ({authority.file})"
    with hanging(authority.file):
        check(await prober.probe(probe), UNKNOWN, reason)
        monkeypatch.setattr(tls, "READING_S", 60.0)  # for what is read from now on
        async with asyncio.timeout(10):
            check(await prober.probe(probe), UNKNOWN, reason)
    await eventually(lambda: not prober._shared.contexts._readings)


async def test_a_file_that_was_unusable_and_now_hangs_is_said_to_hang(
    prober: Prober, authority: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, good = secure(1, ca_file=authority.file), authority.file.read_bytes()
    authority.file.write_text("nothing")
    check(
        await prober.probe(probe), UNKNOWN, f"cannot probe: ca_file holds no certificate in PEM form ({authority.file})"
    )
    authority.file.write_bytes(good)
    clock.pass_a_look()
    monkeypatch.setattr(tls, "READING_S", 0.1)
    with hanging(authority.file):
        check(await prober.probe(probe), UNKNOWN, f"cannot probe: reading ca_file takes too long ({authority.file})")
    await eventually(lambda: not prober._shared.contexts._readings)
    check(await prober.probe(probe), DOWN, "connection refused")


async def test_a_file_that_hangs_does_not_keep_the_process(
    prober: Prober, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "READING_S", 0.1)
    with hanging(authority.file):
        assert (await prober.probe(secure(1, ca_file=authority.file))).status == UNKNOWN
        [thread] = [each for each in threading.enumerate() if each.name == "vimmon-tls-files"]
        assert thread.daemon
    await eventually(lambda: not prober._shared.contexts._readings)


async def test_a_probe_cancelled_while_files_are_read_leaves_what_is_read_to_others(
    prober: Prober, authority: Authority
) -> None:
    with hanging(authority.file):
        waiting = [asyncio.ensure_future(prober.probe(secure(1, ca_file=authority.file))) for _ in range(2)]
        await eventually(lambda: prober._shared.contexts._readings)
        await asyncio.sleep(0)  # in which the second waits as well
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
    check(await waiting[1], DOWN, "connection refused")
