"""What a conductor serves over HTTP: by the process it is in earnest, and by its pages alone where parts are away."""

import http.client
import os
import re
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from tests.integration.bench import Bench, update_vim
from tests.integration.hosting import KEYS, ME
from tests.integration.passes import alive
from tests.integration.test_alerts import RULES
from tests.support.polling import until
from tests.support.processes import all_end, command_of
from tests.support.promtool import promtool
from vimmon.conductor.__main__ import main
from vimmon.conductor.http import AT_ONCE, Page, Pages, PageServer, listen
from vimmon.conductor.pages import NAMES_KEPT_S, Watch
from vimmon.embedded.process import Child, free_port
from vimmon.embedded.redis import RedisServer
from vimmon.errors import VimmonError
from vimmon.metrics import ExecutorMetrics, Histogram
from vimmon.registry.census import CensusTaker
from vimmon.registry.database import open_engine
from vimmon.settings import Settings
from vimmon.tacker.state import write_following
from vimmon.vim import Vim, VimStatus

HISTOGRAM = Histogram((0.1, 1.0))
TOLD = ExecutorMetrics(
    running=2,
    waiting=1,
    oldest_check_s=9.5,
    probes={"http": {VimStatus.REACHABLE: 7, VimStatus.UNREACHABLE: 2}},
    answers={"http": HISTOGRAM.spread()},
    lag={"schedule": HISTOGRAM.spread()},
)


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def parsed(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(families: dict[str, Metric], name: str) -> dict[tuple[str, ...], float]:
    """By the values of the labels, in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name
    }


@contextmanager
def conductor(folder: Path, redis_url: str, database_url: str, *arguments: str) -> Iterator[tuple[Child, str]]:
    env = {"VIMMON_REDIS_URL": redis_url, "VIMMON_DATABASE_URL": database_url, "VIMMON_RECONCILE_INTERVAL_S": "0.2"}
    env |= {"VIMMON_CONDUCTOR_BEAT_S": "0.2", "VIMMON_CONDUCTOR_TTL_S": "1"}
    command = [sys.executable, "-m", "vimmon.conductor", "--workers", "0", "--http", "127.0.0.1:0", *arguments]
    child = Child("conductor", command, folder, env=env)
    try:
        child.wait_ready(lambda: "http_started" in child.log.read_text(), 60)
        yield child, re.findall(r"http_started address=(\S+)", child.log.read_text())[-1]
    finally:
        child.stop()


@pytest.fixture
def vim(bench: Bench) -> Vim:
    """Watched by an executor that tells everything there is to tell."""
    vim = bench.registered()
    alive(bench, ME, **{vim.id: f"1:{vim.action_id}"})
    bench.redis.hset(KEYS.executor(ME), mapping={"monitors": "1", "prober_degraded": "1"})
    said = TOLD.model_copy(update={"certificates": {vim.id: 1_900_000_000.0}, "flapping": (vim.id,)})
    bench.redis.hset(KEYS.metrics(ME), mapping=dict[Any, Any](said.fields()))
    write_following(bench.redis, KEYS, read_ms=1, followed=1, interval_s=60.0)
    return vim


def test_a_conductor_shows_every_metric_as_prometheus_wants_it(
    bench: Bench, vim: Vim, redis_server: RedisServer, tmp_path: Path
) -> None:
    absent = bench.registered("osaka")
    with conductor(tmp_path, redis_server.url, str(bench.engine.url)) as (_, address):
        assert get(address, "/livez") == (200, "ok\n")
        assert get(address, "/readyz") == (200, "redis: ok\ndatabase: ok\n")
        bench.push(update_vim(vim, seq=1), update_vim(absent, "UNREACHABLE", seq=1), update_vim(vim, action_id="other"))

        def told() -> dict[str, Metric]:
            return parsed(get(address, "/metrics")[1])

        until(lambda: values(told(), "vimmon_calls_total").get(("bad_action",)) == 1)
        until(lambda: values(told(), "vimmon_reconcile_passes_total").get((), 0) > 0)
        until(lambda: values(told(), "vimmon_conductors") == {(): 1})
        text = get(address, "/metrics")[1]
        found = parsed(text)
    assert values(found, "vimmon_up") == {("redis",): 1, ("database",): 1}
    assert values(found, "vimmon_vims") == {
        ("PENDING",): 0,
        ("REACHABLE",): 1,
        ("UNKNOWN",): 0,
        ("UNREACHABLE",): 1,
    }
    assert list(values(found, "vimmon_vim_not_reachable_seconds")) == [("osaka", "UNREACHABLE", absent.id)]
    assert values(found, "vimmon_calls_total")["applied",] == 2
    assert values(found, "vimmon_status_changes_total") == {("REACHABLE",): 1, ("UNREACHABLE",): 1, ("UNKNOWN",): 0}
    assert values(found, "vimmon_batch_requests_sum") == {(): 3}
    assert values(found, "vimmon_batch_duration_seconds_count")[()] >= 1
    assert values(found, "vimmon_monitors") == {(ME,): 1}
    assert values(found, "vimmon_prober_degraded") == {(ME,): 1}
    assert values(found, "vimmon_probes_total") == {(ME, "http", "REACHABLE"): 7, (ME, "http", "UNREACHABLE"): 2}
    assert values(found, "vimmon_oldest_check_age_seconds") == {(ME,): 9.5}
    assert values(found, "vimmon_certificate_expiry_timestamp_seconds") == {("tokyo", vim.id): 1_900_000_000}
    assert values(found, "vimmon_vim_flapping") == {("tokyo", vim.id): 1}
    assert all(family.samples for family in found.values()), "every one has a value here"
    assert all(family.documentation for family in found.values())
    named = {sample.name for family in found.values() for sample in family.samples}
    assert set(re.findall(r"\bvimmon_\w+", RULES.read_text())) <= named | set(found), "alerts speak of what there is"


def test_promtool_finds_nothing_to_say_about_the_metrics(bench: Bench, vim: Vim, redis_server: RedisServer) -> None:
    text = watch(redis_server.url, str(bench.engine.url)).metrics().body.decode()
    assert "vimmon_probe_lag_seconds_bucket" in text
    linted = promtool("check", "metrics", stdin=text)
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")


def test_every_metric_is_in_the_documents(bench: Bench, vim: Vim, redis_server: RedisServer) -> None:
    document = (RULES.parents[2] / "docs" / "metrics.md").read_text()
    shown = parsed(watch(redis_server.url, str(bench.engine.url)).metrics().body.decode())
    totals = {f"{name}_total" if family.type == "counter" else name for name, family in shown.items()}
    documented = set(re.findall(r"^\| `(vimmon_\w+)", document, re.MULTILINE))
    assert documented == {f"{name}_info" if name == "vimmon_conductor" else name for name in totals} | {
        "vimmon_reconcile_age_seconds"
    }
    assert set(re.findall(r"`(Vimmon\w+)`", document)) == set(re.findall(r"alert: (\w+)", RULES.read_text()))


def test_told_to_leave_it_leaves_and_a_process_that_dies_is_replaced_on_the_same_port(
    bench: Bench, redis_server: RedisServer, tmp_path: Path
) -> None:
    with conductor(tmp_path, redis_server.url, str(bench.engine.url), "--rpc", "0") as (child, address):
        everybody = psutil.Process(child.pid).children(recursive=True)
        (serving,) = [one for one in everybody if "vimmon-http" in command_of(one)]
        serving.kill()
        assert get(address, "/livez") == (200, "ok\n"), "who calls meanwhile, waits"
        everybody = psutil.Process(child.pid).children(recursive=True)
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait_dead(10)
        assert all_end(everybody)
        with pytest.raises(OSError, match="refused"):
            get(address, "/livez")


def test_an_address_that_cannot_be_had_is_refused_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(VimmonError, match=f"--http 127.0.0.1:{port}: Address already in use") as refused:
            listen("127.0.0.1", port)
    assert "--http off" in refused.value.remedy
    with pytest.raises(VimmonError, match=r"--http 192\.0\.2\.1:0: "):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize("address", ["9718", "localhost", ":9718", "localhost:http", "localhost:65536", "on"])
def test_what_is_no_address_is_wrong_usage(capsys: pytest.CaptureFixture[str], address: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--http", address])
    assert ended.value.code == 2
    assert "must be HOST:PORT, [IPv6]:PORT or off" in capsys.readouterr().err


def watch(redis_url: str, database_url: str, *, prefix: str = "vimmon", **options: object) -> Watch:
    settings = {"redis_url": redis_url, "database_url": database_url, "prefix": prefix}
    return Watch(Settings.model_validate(settings), **options)  # type: ignore[arg-type]


def test_without_redis_the_database_is_shown_and_without_the_database_redis(
    bench: Bench, vim: Vim, redis_server: RedisServer
) -> None:
    away = free_port()
    without_redis = watch(f"redis://:s3cr3t@127.0.0.1:{away}/0", str(bench.engine.url))
    shown = parsed(without_redis.metrics().body.decode())
    assert values(shown, "vimmon_up") == {("redis",): 0, ("database",): 1}
    assert values(shown, "vimmon_vims")["PENDING",] == 1
    assert "vimmon_executors" not in shown
    ready = without_redis.readyz()
    assert ready.status == 503
    assert ready.body.startswith(b"redis: Redis cannot be reached")
    assert ready.body.endswith(b"\ndatabase: ok\n")
    without_database = watch(redis_server.url, f"postgresql://user:s3cr3t@127.0.0.1:{away}/vimmon")
    shown = parsed(without_database.metrics().body.decode())
    assert values(shown, "vimmon_up") == {("redis",): 1, ("database",): 0}
    assert values(shown, "vimmon_monitors") == {(ME,): 1}
    assert list(values(shown, "vimmon_vim_flapping")) == [("", vim.id)]
    assert without_database.readyz().status == 503
    assert b"s3cr3t" not in ready.body + without_database.readyz().body
    assert f"127.0.0.1:{away}".encode() in without_database.readyz().body


def test_a_redis_that_says_nothing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setattr("vimmon.conductor.pages.REDIS_TIMEOUT_S", 0.1)
    monkeypatch.setattr("vimmon.conductor.pages.READY_TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pages = watch(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", str(bench.engine.url))
        shown = parsed(pages.metrics().body.decode())
        assert values(shown, "vimmon_up") == {("redis",): 0, ("database",): 1}
        assert pages.readyz().body == b"redis: Redis does not answer within 1 s\ndatabase: ok\n"


def test_a_database_without_tables_is_not_ready(redis_server: RedisServer, redis: Redis, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/empty.sqlite"
    open_engine(url)
    ready = watch(redis_server.url, url).readyz()
    assert ready.status == 503
    assert b"its tables are missing" in ready.body


def test_a_new_name_is_shown_in_time_and_names_are_asked_for_once(
    bench: Bench, vim: Vim, redis_server: RedisServer
) -> None:
    now = 0.0
    pages = watch(redis_server.url, str(bench.engine.url), clock=lambda: now)

    def names() -> list[str]:
        return [name for name, _ in values(parsed(pages.metrics().body.decode()), "vimmon_vim_flapping")]

    assert names() == ["tokyo"]
    bench.vims.rename(vim.id, "edo")
    now += NAMES_KEPT_S - 1
    assert names() == ["tokyo"]
    now += 1
    assert names() == ["edo"]


def test_two_who_ask_at_once_whether_it_is_ready_both_hear_that_it_is(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, redis_server: RedisServer
) -> None:
    both_asked = threading.Event()
    check = CensusTaker.check

    def slow(taker: CensusTaker) -> None:
        both_asked.wait(10)
        check(taker)

    monkeypatch.setattr(CensusTaker, "check", slow)
    pages = watch(redis_server.url, str(bench.engine.url))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(pages.readyz), pool.submit(pages.readyz)
        until(lambda: pages._ready_lock.locked())
        threading.Timer(0.2, both_asked.set).start()
        assert (first.result(20).status, second.result(20).status) == (200, 200)


def test_who_asks_again_at_once_is_told_the_same(bench: Bench, redis_server: RedisServer) -> None:
    now = 0.0
    pages = watch(redis_server.url, str(bench.engine.url), clock=lambda: now)
    first = pages.metrics()
    bench.registered()
    assert pages.metrics() is first
    now += 1
    assert pages.metrics() != first


@contextmanager
def served(pages: Pages, wanted: int = 0) -> Iterator[tuple[str, int]]:
    stop, server = threading.Event(), PageServer(listen("127.0.0.1", wanted), pages)
    thread = threading.Thread(target=server.serve, args=[stop])
    thread.start()
    try:
        host, _, port = server.address.rpartition(":")
        yield host, int(port)
    finally:
        stop.set()
        thread.join(10)
        server.server_close()
        assert not thread.is_alive()


def fail(query: str) -> Page:
    raise ValueError("s3cr3t")


def test_only_known_pages_are_there_only_to_be_read() -> None:
    with served({"/page": lambda query: Page(b"text"), "/fails": fail}) as (host, port):

        def ask(method: str, path: str) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection(host, port, timeout=10)
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()

        assert ask("GET", "/page?x=1") == (200, b"text")
        assert ask("HEAD", "/page") == (200, b"")
        assert ask("POST", "/page")[0] == 405
        assert ask("GET", "/../etc/passwd") == (404, b"there is no such page; there are:\n/page\n/fails\n")
        assert ask("GET", "/fails") == (500, b"the conductor's log says why\n")


def test_clients_that_say_nothing_hold_no_other_up_and_more_than_enough_are_sent_away() -> None:
    with served({"/": lambda query: Page(b"text")}) as (host, port):
        silent = [socket.create_connection((host, port), timeout=10) for _ in range(AT_ONCE - 1)]
        assert get(f"{host}:{port}", "/") == (200, "text")
        silent += [socket.create_connection((host, port), timeout=10) for _ in range(2)]
        assert silent[-1].recv(1) == b"", "sent away"
        silent.pop(0).close()
        until(lambda: answers(host, port))
        for each in silent:
            each.close()


def test_a_client_that_says_nothing_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vimmon.conductor.http.CLIENT_TIMEOUT_S", 0.05)
    with served({}) as (host, port), socket.create_connection((host, port), timeout=5) as silent:
        assert silent.recv(1) == b""


def answers(host: str, port: int) -> bool:
    try:
        return get(f"{host}:{port}", "/") == (200, "text")
    except OSError:
        return False


def test_an_address_of_the_sixth_version_is_served_and_shown_in_brackets() -> None:
    server = PageServer(listen("::1", 0), {"/": lambda query: Page(b"text")})
    assert re.fullmatch(r"\[::1\]:\d+", server.address)
    server.server_close()
