"""The status page on a real Redis and database: what it shows, what it costs, what it says where one is away."""

import gzip
import http.client
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.integration.bench import Bench, update_vim
from tests.integration.hosting import KEYS, ME
from tests.integration.passes import HOLDER, alive
from tests.integration.test_http import conductor, served, watch
from tests.support.fleet import fill
from tests.support.polling import until
from vimmon.conductor import http as http_module
from vimmon.conductor.http import Page
from vimmon.conductor.status_page import FRESH_S, KEPT, read_wish
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer
from vimmon.metrics import ExecutorMetrics
from vimmon.registry.values import Wish
from vimmon.vim import VimStatus

DOWN, UNKNOWN, PENDING = VimStatus.UNREACHABLE, VimStatus.UNKNOWN, VimStatus.PENDING


def ask(address: str, path: str = "/", *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


class Pages:
    """The pages of one process, and a clock that a test advances."""

    def __init__(self, redis_url: str, database_url: str) -> None:
        self.now = 0.0
        self._pages = watch(redis_url, database_url, clock=lambda: self.now).pages()

    def page(self, query: str = "") -> Page:
        return self._pages["/"](query)

    def text(self, query: str = "") -> str:
        self.now += 1000
        return self.page(query).body.decode()


@pytest.fixture
def pages(bench: Bench, redis_server: RedisServer) -> Pages:
    return Pages(redis_server.url, str(bench.engine.url))


def test_a_conductor_shows_what_was_reported_and_who_watches(
    bench: Bench, redis_server: RedisServer, tmp_path: Path
) -> None:
    vim, other = bench.registered("tokyo"), bench.registered("<b>osaka</b>")
    alive(bench, ME, **{vim.id: f"1:{vim.action_id}"})
    bench.redis.hset(KEYS.executor(ME), mapping={"monitors": "1", "host": "mistral-1", "version": "0.1.0"})
    bench.redis.hset(KEYS.seen(ME), vim.id, str(time.time() - 30))
    bench.redis.hset(KEYS.metrics(ME), mapping=dict[Any, Any](ExecutorMetrics(flapping=(vim.id,)).fields()))
    with conductor(tmp_path, redis_server.url, str(bench.engine.url)) as (_, address):
        bench.push(
            update_vim(vim, seq=1, holder=f"{ME}:aa", reason="HTTP 300 in 31 ms"),
            update_vim(other, "UNREACHABLE", seq=1, holder=HOLDER, reason="<script>alert(1)</script>"),
        )
        until(lambda: b"1 of 2 VIMs is UNREACHABLE" in ask(address)[2])
        until(lambda: b"have not been compared" not in ask(address)[2])
        text = ask(address)[2].decode()
        assert ask(address, "/metrics")[0] == 200
    assert text.index("&lt;b&gt;osaka&lt;/b&gt;") < text.index(">tokyo<"), "what is wrong stands first"
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text
    assert "mistral-1-42</bdi>" in text
    assert ">30s ago<" in text or ">31s ago<" in text or ">32s ago<" in text or "s ago<" in text
    assert "flapping" in text
    assert "<strong>" not in text, "no trouble"
    assert "Conductors: 1" in text


def test_many_viewers_cost_one_look_and_the_next_comes_when_it_is_due(bench: Bench, pages: Pages) -> None:
    bench.registered("tokyo")
    first = pages.page()
    bench.registered("osaka")
    assert pages.page() is first
    assert b"osaka" not in first.body
    assert b"osaka" in pages.page("name=osak").body, "another filter is another page"
    pages.now += FRESH_S
    assert b"osaka" in pages.page().body


def test_pages_with_more_filters_than_are_kept_are_made_anew(bench: Bench, pages: Pages) -> None:
    first = pages.page()
    for number in range(KEPT):
        pages.page(f"name={number}")
    assert pages.page() is not first


def test_the_same_is_known_to_be_the_same_though_time_goes_on(
    bench: Bench, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    vim = bench.registered("tokyo")
    bench.ask(update_vim(vim, seq=1))
    first = pages.page()
    time.sleep(1.1)  # the database's clock: what is told in seconds must have changed
    pages.now += 100
    second = pages.page()
    assert second.body != first.body
    assert second.etag == first.etag
    assert second.headers["X-As-Of"] != first.headers["X-As-Of"]
    bench.ask(update_vim(vim, "UNREACHABLE", seq=2))
    pages.now += 100
    assert pages.page().etag != first.etag


def test_without_the_database_or_redis_the_rest_is_shown_and_what_is_missing_is_said(
    bench: Bench, redis_server: RedisServer
) -> None:
    vim = bench.registered("tokyo")
    bench.ask(update_vim(vim, seq=1))
    alive(bench, ME)
    away = free_port()
    without_redis = Pages(f"redis://:s3cr3t@127.0.0.1:{away}/0", str(bench.engine.url)).text()
    assert "Redis cannot be asked" in without_redis
    assert "All 1 VIM were REACHABLE when last heard of" in without_redis
    assert ">tokyo<" in without_redis
    without_database = Pages(redis_server.url, f"postgresql://user:s3cr3t@127.0.0.1:{away}/vimmon").text()
    assert "The database cannot be asked" in without_database
    assert "Nobody can say which VIMs are reachable" in without_database
    assert "Executors: 1" in without_database
    assert "tokyo" not in without_database
    assert "s3cr3t" not in without_redis + without_database


def test_a_redis_that_says_nothing_holds_the_page_up_no_longer_than_was_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vimmon.conductor.status_page.REDIS_TIMEOUT_S", 0.1)
    bench.registered("tokyo")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pages = Pages(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", str(bench.engine.url))
        assert "Redis does not answer within 0.1 s" in pages.text()
        assert "Redis has not answered the last question yet" in pages.text()


def test_nobody_is_registered_yet(bench: Bench, pages: Pages) -> None:
    text = pages.text()
    assert "No VIM is registered" in text
    assert "vimmon vim register NAME --auth-url URL" in text


@pytest.mark.parametrize(
    ("query", "wish"),
    [
        ("", Wish()),
        ("status=UNREACHABLE&name=tok%20yo&page=3", Wish(DOWN, "tok yo", 3)),
        ("status=unknown", Wish(UNKNOWN)),
        ("status=<script>&page=-1&name=", Wish()),
        ("page=99999999999999999999", Wish()),
        ("page=%D9%A3", Wish(page=3)),
        ("name=a%00b%0Ac%ED%A0%80", Wish(text="abc\N{REPLACEMENT CHARACTER}" * 1)),
        ("name=" + "x" * 9000, Wish(text="x" * 255)),
        ("&".join(["a=b"] * 1000), Wish()),
        ("name=a&name=b", Wish(text="a")),
        ("%", Wish()),
    ],
)
def test_what_is_asked_for_is_read_and_what_makes_no_sense_is_left_out(query: str, wish: Wish) -> None:
    found = read_wish(query)
    assert (found.status, found.page) == (wish.status, wish.page)
    assert found.text.rstrip("\N{REPLACEMENT CHARACTER}") == wish.text.rstrip("\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize("database_kind", ["postgresql", "mariadb"], indirect=True)
def test_no_question_is_one_that_a_database_cannot_understand(
    migrated_url: str, redis_server: RedisServer, redis: Redis
) -> None:
    pages = Pages(redis_server.url, migrated_url)
    for query in ("name=%00", "name=%F0%9F%98%80", "name=%25%5C'", "name=%ED%A0%80", "page=999999", "status=ODD"):
        assert "cannot be asked" not in pages.text(query), query


@pytest.fixture
def address(bench: Bench, redis_server: RedisServer) -> Any:
    bench.registered("tokyo")
    with served(watch(redis_server.url, str(bench.engine.url)).pages()) as (host, port):
        yield f"{host}:{port}"


def test_who_has_the_page_already_is_told_only_that(address: str) -> None:
    status, headers, body = ask(address)
    assert status == 200
    assert headers["cache-control"] == "no-cache"
    assert headers["content-length"] == str(len(body))
    for known in (headers["etag"], f'"other", {headers["etag"]}', headers["etag"].removeprefix("W/"), "*"):
        status, again, body = ask(address, if_none_match=known)
        assert (status, body) == (304, b"")
        assert again["etag"] == headers["etag"]
        assert again["x-as-of"]
        assert "content-length" not in again
    assert ask(address, if_none_match='"other"')[0] == 200


def test_the_page_comes_packed_for_whoever_can_unpack_it(address: str) -> None:
    plain = ask(address)[2]
    for accepted, packed in (
        ("gzip, deflate, br", True), ("br;q=1.0, gzip;q=0.8", True), ("*", True), ("GZIP", True),
        ("gzip;q=0", False), ("gzip; q=0.0, br", False), ("deflate", False), ("xgzipx", False), ("", False),
    ):  # fmt: skip
        _, headers, body = ask(address, accept_encoding=accepted)
        assert (headers.get("content-encoding") == "gzip") is packed, accepted
        assert (gzip.decompress(body) if packed else body) == plain
        assert headers["vary"] == "Accept-Encoding"


def test_nothing_can_be_changed_and_every_answer_forbids_what_is_not_needed(address: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"):
        status, headers, body = ask(address, method=method)
        assert (status, headers["allow"], body) == (405, "GET, HEAD", b"Method Not Allowed\n")
    for path in ("/", "/status.css", "/status.js", "/icon-bad.svg", "/metrics", "/livez", "/nowhere"):
        status, headers, body = ask(address, path)
        again, alike, nothing = ask(address, path, method="HEAD")
        assert (again, nothing) == (status, b"")
        assert alike["content-length"] == headers["content-length"] == str(len(body))
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
    assert ask(address, "/metrics")[1]["cache-control"] == "no-store"
    for path in ("/static/status.css", "/../pyproject.toml", "/status.css/", "/%2e%2e/x"):
        assert ask(address, path)[0] == 404


def test_what_is_no_request_is_told_so_in_one_line(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"<script>alert(1)</script>\r\n\r\n")
        answer = b""
        while more := client.recv(4096):
            answer += more
    assert b"<script>" not in answer


def test_a_client_that_says_little_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "CLIENT_MAX_S", 0.3)
    with served({}) as (host, port), socket.create_connection((host, port), timeout=10) as slow:
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe|abort"):
            trickle(slow)
        assert time.monotonic() - began < 5


def trickle(client: socket.socket) -> None:
    """A letter now and then, and never a whole line."""
    for _ in range(200):
        client.sendall(b"G")
        time.sleep(0.05)


def test_ten_thousand_are_shown_in_little_time_and_few_bytes(bench: Bench, redis: Redis, pages: Pages) -> None:
    fill(bench.engine, redis, 10_000, absent=[DOWN] * 40 + [UNKNOWN] * 9 + [PENDING], executors=10)
    pages.page()
    pages.now += 100
    began = time.process_time()
    page = pages.page()
    cost_s = time.process_time() - began
    assert b"40 of 10,000 VIMs are UNREACHABLE" in page.body
    assert page.body.count(b"<tr id=") == 500
    assert page.gzipped is not None
    assert len(page.gzipped) < 40_000
    assert cost_s < 2, "0.1 s where nothing else runs"
