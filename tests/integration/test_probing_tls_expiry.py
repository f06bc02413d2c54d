"""When a certificate expires: that is kept with the outcome, and found by a second look where it was refused."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.securing import noting_sockets, secure, shaking_hands
from tests.support.authority import NOW, Authority
from tests.support.polling import eventually
from tests.support.servers import DOWN, UP, VERSIONS, Web, check, new_prober, serving
from vimmon.actions.probing import Prober, connection
from vimmon.vim import VimStatus

DAY = datetime.timedelta(days=1)
TODAY = NOW.date()


@pytest.fixture
async def prober(authority: Authority) -> AsyncIterator[Prober]:
    async with new_prober() as prober:
        yield prober


@pytest.mark.parametrize(("answer", "status"), [(Web(300, VERSIONS), UP), (Web(503), DOWN)])
async def test_the_end_of_a_certificate_is_kept_whatever_the_answer(
    prober: Prober, authority: Authority, answer: Web, status: VimStatus
) -> None:
    async with serving(answer, tls=authority.server(days=(-1, 40))) as port:
        outcome = await prober.probe(secure(port))
    assert outcome.status == status
    assert outcome.certificate_expires_at is not None
    assert outcome.certificate_expires_at.date() == TODAY + 40 * DAY


async def test_the_end_of_an_expired_certificate_is_kept_as_well(prober: Prober, authority: Authority) -> None:
    async with serving(Web(300, VERSIONS), tls=authority.server(days=(-9, -3))) as port:
        outcome = await prober.probe(secure(port))
    check(outcome, DOWN, f"certificate expired on {TODAY - 3 * DAY}")
    assert outcome.certificate_expires_at is not None
    assert outcome.certificate_expires_at.date() == TODAY - 3 * DAY


async def test_an_expired_authority_is_not_taken_for_an_expired_certificate(prober: Prober, tmp_path: Path) -> None:
    old = Authority(tmp_path, "old", days=(-9, -3))
    async with serving(Web(300, VERSIONS), tls=old.server()) as port:
        check(await prober.probe(secure(port, ca_file=old.file)), DOWN, "a certificate in its chain expired")


async def test_an_expired_certificate_is_told_even_when_the_second_look_at_it_gets_no_answer(
    prober: Prober, authority: Authority
) -> None:
    times = 0
    expired = authority.server(days=(-9, -3))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal times
        times += 1
        if times > 1:
            await reader.read()
        else:
            await writer.start_tls(expired)

    async with serving(handle) as port:
        check(await prober.probe(secure(port, timeout_s=0.3)), DOWN, "certificate expired")
    assert times == 2


@pytest.mark.parametrize("listens", [True, False], ids=["hangs up", "refuses"])
async def test_an_expired_certificate_is_told_even_when_there_is_no_second_look_at_it(
    prober: Prober, authority: Authority, listens: bool
) -> None:
    expired, first = authority.server(days=(-9, -3)), True

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        if first:
            first = False
            if not listens:
                server.close()
            await writer.start_tls(expired)
        writer.close()

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await handle(reader, writer)

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        check(await prober.probe(secure(port, timeout_s=5)), DOWN, "certificate expired")
    assert not first


async def test_an_expired_certificate_whose_date_cannot_be_read_is_expired_all_the_same(
    prober: Prober, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "expires_at", lambda _: None)
    async with serving(Web(300, VERSIONS), tls=authority.server(days=(-9, -3))) as port:
        check(await prober.probe(secure(port)), DOWN, "certificate expired")


async def test_the_second_look_at_a_certificate_leaves_no_connection(
    prober: Prober, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with noting_sockets(monkeypatch) as made, shaking_hands(authority.server(days=(-9, -3))) as port:
        check(await prober.probe(secure(port)), DOWN, f"certificate expired on {TODAY - 3 * DAY}")
        assert len(made) == 2
        await eventually(lambda: [each.fileno() for each in made] == [-1, -1], within_s=5)
