"""The plain preset, and what a probe makes of odd answers: it says what it expected when something else comes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.servers import DOWN, UP, VERSIONS, Handler, Web, check, endless, keystone, new_prober, raw, serving
from vimmon.actions.probing import Prober
from vimmon.actions.probing.http import BODY_MAX
from vimmon.probes import HttpProbe, probe_for
from vimmon.vim import VimStatus, VimType


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with new_prober() as prober:
        yield prober


def plain(port: int, path: str = "", **settings: object) -> HttpProbe:
    probe = probe_for(VimType.GENERIC, f"http://127.0.0.1:{port}{path}", {"kind": "http", "timeout_s": 2, **settings})
    assert isinstance(probe, HttpProbe)
    return probe


@pytest.mark.parametrize(
    ("status", "expected", "verdict", "reason"),
    [
        (200, None, UP, "HTTP 200"),
        (204, None, UP, "HTTP 204"),
        (299, None, UP, "HTTP 299"),
        (300, None, DOWN, "HTTP 300, but 200-299 was expected, a redirect, which is not followed"),
        (301, None, DOWN, "HTTP 301, but 200-299 was expected, a redirect, which is not followed"),
        (301, "301", UP, "HTTP 301"),
        (401, None, DOWN, "HTTP 401, but 200-299 was expected"),
        (401, "200,401-403", UP, "HTTP 401"),
        (403, None, DOWN, "HTTP 403, but 200-299 was expected"),
        (403, "200,401-403", UP, "HTTP 403"),
        (404, None, DOWN, "HTTP 404, but 200-299 was expected"),
        (404, "200,401-403", DOWN, "HTTP 404, but 200,401-403 was expected"),
        (429, None, DOWN, "HTTP 429, but 200-299 was expected"),
        (500, None, DOWN, "HTTP 500, but 200-299 was expected"),
        (503, None, DOWN, "HTTP 503, but 200-299 was expected"),
        (503, "503", UP, "HTTP 503"),
    ],
)
async def test_the_status_is_compared_with_what_is_expected(
    prober: Prober, status: int, expected: str | None, verdict: VimStatus, reason: str
) -> None:
    async with serving(Web(status)) as port:
        check(await prober.probe(plain(port, expect_status=expected)), verdict, reason)


@pytest.mark.parametrize(
    ("body", "verdict", "reason"),
    [
        ("all is Schön here".encode(), UP, "HTTP 200"),
        (b"all is well here", DOWN, "HTTP 200, but its text lacks 'is Schön'"),
        ("all is schön here".encode(), DOWN, "HTTP 200, but its text lacks 'is Schön'"),
        (b"", DOWN, "HTTP 200, but its text lacks 'is Schön'"),
        (b" " * 70_000 + "is Schön".encode(), DOWN, "HTTP 200, but its text lacks 'is Schön'"),
    ],
)
async def test_the_text_is_looked_for_in_the_beginning_of_the_body(
    prober: Prober, body: bytes, verdict: VimStatus, reason: str
) -> None:
    async with serving(Web(200, body)) as port:
        check(await prober.probe(plain(port, expect_text="is Schön")), verdict, reason)


async def test_a_text_is_not_looked_for_beyond_what_is_read_however_the_body_comes(prober: Prober) -> None:
    async def in_two_parts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (BODY_MAX + 4, b"-" * 10))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b" " * (BODY_MAX - 10) + b"late")
        await reader.read()

    async with serving(in_two_parts) as port:
        check(await prober.probe(plain(port, expect_text="late")), DOWN, "HTTP 200, but its text lacks 'late'")
        check(await prober.probe(plain(port, expect_text="- ")), UP, "HTTP 200")


@pytest.mark.parametrize(
    ("status", "expect_text", "verdict", "reason"),
    [(200, None, UP, "HTTP 200"), (503, "well", DOWN, "HTTP 503, but 200-299 was expected")],
)
async def test_a_body_in_which_nothing_is_looked_for_is_not_waited_for(
    prober: Prober, status: int, expect_text: str | None, verdict: VimStatus, reason: str
) -> None:
    async with serving(endless(status)) as port:
        check(await prober.probe(plain(port, expect_text=expect_text)), verdict, reason)


async def test_a_wrong_status_is_told_before_a_missing_text(prober: Prober) -> None:
    async with serving(Web(500, b"well")) as port:
        outcome = await prober.probe(plain(port, expect_text="well"))
    check(outcome, DOWN, "HTTP 500, but 200-299 was expected")


@pytest.mark.parametrize(("path", "asked"), [("", "/"), ("/health/live", "/health/live"), ("/health/", "/health/")])
async def test_the_auth_url_is_asked_as_given_and_any_form_is_accepted(prober: Prober, path: str, asked: str) -> None:
    web = Web(200)
    async with serving(web) as port:
        check(await prober.probe(plain(port, path)), UP, "HTTP 200")
    [request] = web.requests
    assert request.startswith(f"GET {asked} HTTP/1.1\r\n")
    assert "\r\nAccept: */*\r\n" in request


def dripping(pause_s: float, sent: list[int]) -> Handler:
    """One byte after another, and never the last."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + b" " * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            sent.append(byte)
            await asyncio.sleep(pause_s)

    return drip


@pytest.mark.parametrize(
    ("pause_s", "timeout_s", "least"),
    [(0.02, 0.3, 3), (1.0, 1.2, 2)],  # each byte comes within the timeout, and the answer does not
)
async def test_a_server_that_answers_byte_by_byte_is_not_waited_for_longer_than_the_timeout(
    prober: Prober, pause_s: float, timeout_s: float, least: int
) -> None:
    sent: list[int] = []
    async with serving(dripping(pause_s, sent)) as port:
        began = asyncio.get_running_loop().time()
        check(await prober.probe(keystone(port, s=timeout_s)), DOWN, f"no answer within {timeout_s:g} s")
        assert (
            timeout_s <= asyncio.get_running_loop().time() - began < timeout_s + 5
        )  # and not the 20 s that it would last
    assert len(sent) >= least


async def test_of_a_body_of_1_gib_only_the_beginning_is_read(prober: Prober) -> None:
    sent = 0

    async def huge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**30)
        while sent < 2**30:
            writer.write(b" " * 65536)
            sent += 65536
            await writer.drain()

    async with serving(huge) as port:
        check(await prober.probe(plain(port, expect_text="here")), DOWN, "HTTP 200, but its text lacks 'here'")
        check(await prober.probe(plain(port)), UP, "HTTP 200")
    assert sent < 2**26


@pytest.mark.parametrize(
    "handler",
    [
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nbeginning"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nbeginning"),
    ],
)
async def test_an_answer_that_breaks_off_is_told_apart_from_one_that_lacks_a_text(
    prober: Prober, handler: Handler
) -> None:
    async with serving(handler) as port:
        outcome = await prober.probe(plain(port, expect_text="end"))
    check(outcome, DOWN, "connection closed in the middle of the answer")


async def test_what_only_keystone_says_does_not_matter_to_the_plain_preset(prober: Prober) -> None:
    async with serving(Web(300, VERSIONS)) as port:
        check(await prober.probe(plain(port, expect_status="300", expect_text="v3")), UP, "HTTP 300")
