"""`vimmon vim list --watch` in a real terminal, and without one, on a real database and Redis that come and go."""

import json
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import Engine, insert, make_url

from tests.chaos.valve import Valve
from tests.support.services import fresh_postgres_database, postgres_missing, service_url
from tests.support.strict import require
from tests.support.terminal import PATIENCE_S, VIMMON, Terminal
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.registry.database import open_engine, upgrade
from vimmon.registry.models import VIMS, utc_now
from vimmon.registry.store import Report, VimStore
from vimmon.vim import Vim, VimStatus, VimType

R, U = VimStatus.REACHABLE, VimStatus.UNREACHABLE
WATCH = ("vim", "list", "--watch", "--interval", "0.2")
KEYS = Keys("vimmon")
EXECUTOR = "mistral-1:42:ab12"


class Place:
    """A database and a Redis that commands find, and what a monitor would write there."""

    def __init__(self, folder: Path, redis_url: str, database_url: str, *, seen_at: str = "") -> None:
        self.engine: Engine = open_engine(database_url)
        upgrade(self.engine)
        self.store = VimStore(self.engine)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "VIMMON_ENV_FILE": os.devnull,
            "VIMMON_DATABASE_URL": seen_at or database_url,
            "VIMMON_REDIS_URL": redis_url,
        }

    def register(self, name: str) -> Vim:
        return self.store.register(
            vim_id=f"id of {name}",
            name=name,
            vim_type=VimType.GENERIC,
            auth_url="http://192.0.2.1:5000",
            probe={"kind": "tcp"},
            action_id=f"action of {name}",
        )

    def report(self, name: str, status: VimStatus, reason: str = "told by the test") -> None:
        self.report_all([name], status, reason)

    def report_all(self, names: Iterable[str], status: VimStatus, reason: str) -> None:
        self.store.record_statuses(
            [Report(f"id of {name}", f"action of {name}", status, None, EXECUTOR, reason) for name in names]
        )

    def fill(self, count: int) -> None:
        """REACHABLE ones, whatever they are otherwise."""
        names = [f"vim-{number:04}" for number in range(count)]
        same: dict[str, object] = {
            "type": "generic",
            "auth_url": "http://192.0.2.1:5000",
            "probe": '{"kind": "tcp"}',
            "status": R,
        }
        same |= {"status_seq": 1, "generation": 1, "reason": "connected in 2 ms"}
        rows = [{"id": f"id of {n}", "name": n, "live_name": n, "action_id": f"action of {n}", **same} for n in names]
        times = dict.fromkeys(("status_since", "created_at", "updated_at"), utc_now())
        with self.engine.begin() as connection:
            connection.execute(insert(VIMS).values(times), rows)


@pytest.fixture
def place(tmp_path: Path, redis_server: RedisServer, redis: Redis) -> Iterator[Place]:
    place = Place(tmp_path, redis_server.url, f"sqlite:///{tmp_path}/vimmon.sqlite")
    yield place
    place.engine.dispose()


def test_a_terminal_shows_the_vims_as_they_are_now_and_is_left_as_it_was(place: Place, redis: Redis) -> None:
    vim = place.register("tokyo")
    with Terminal(WATCH, place.env) as terminal:
        before = terminal.attributes()
        terminal.until(lambda: "PENDING" in terminal.text)
        assert terminal.cursor_is_hidden
        place.report("tokyo", U, "no answer within 5 s")
        redis.set(KEYS.status(vim.id), f"1:1:UNREACHABLE:{EXECUTOR}:9f")
        redis.zadd(KEYS.executors, {EXECUTOR: 1})
        redis.hset(KEYS.executor(EXECUTOR), "monitors", "1")
        redis.hset(KEYS.held(EXECUTOR), vim.id, f"1:{vim.action_id}")
        redis.expire(KEYS.executor(EXECUTOR), 30)
        terminal.until(lambda: "UNREACHABLE  0s" in terminal.text and "mistral-1-42" in terminal.text)
        assert terminal.lines[0].startswith("1 VIMs  1 UNREACHABLE")
        place.register("osaka")
        terminal.until(lambda: terminal.lines[3].startswith("osaka"))
        terminal.press(b"abc\x1b[A")  # nothing of which is to be seen
        terminal.read(0.5)
        assert "abc" not in terminal.text
        terminal.press(b"\x03")
        assert terminal.end() == 0
        assert terminal.attributes() == before
        assert not terminal.cursor_is_hidden
        assert terminal.raw.endswith(b"\x1b[?1049l")
        assert b"Traceback" not in terminal.raw


@pytest.mark.parametrize("end", ["q", "SIGTERM", "SIGHUP"])
def test_however_it_is_ended_the_terminal_is_left_as_it_was(place: Place, end: str) -> None:
    place.register("tokyo")
    with Terminal(WATCH, place.env) as terminal:
        before = terminal.attributes()
        terminal.until(lambda: "tokyo" in terminal.text)
        if end == "q":
            terminal.press(b"q")
        else:
            terminal.process.send_signal(signal.Signals[end])
        assert terminal.end() == 0
        assert (terminal.attributes(), terminal.raw.endswith(b"\x1b[?1049l")) == (before, True)


def test_it_can_be_stopped_and_goes_on(place: Place) -> None:
    place.register("tokyo")
    with Terminal(WATCH, place.env) as terminal:
        before = terminal.attributes()
        terminal.until(lambda: "tokyo" in terminal.text)
        terminal.press(b"\x1a")
        terminal.until(lambda: terminal.attributes() == before and terminal.raw.endswith(b"\x1b[?1049l"))
        place.register("osaka")
        terminal.process.send_signal(signal.SIGCONT)
        terminal.until(lambda: "osaka" in terminal.text and "tokyo" in terminal.text)
        terminal.press(b"q")
        assert terminal.end() == 0


def test_another_size_of_the_window_is_filled_at_once(place: Place) -> None:
    place.fill(60)
    with Terminal(("vim", "list", "--watch", "--interval", "3000"), place.env) as terminal:
        terminal.until(lambda: "… and 40 more" in terminal.text)
        terminal.resize(100, 70)
        # The screen comes in pieces: the last name may be there before the line that it takes the place of is gone.
        terminal.until(lambda: "vim-0059" in terminal.text and "more" not in terminal.text)


def test_of_two_thousand_vims_those_in_trouble_are_seen_and_little_is_written(place: Place) -> None:
    place.fill(2000)
    with Terminal(WATCH, place.env) as terminal:
        terminal.until(lambda: "… and 1,980 more" in terminal.text)
        terminal.read(1)  # until nothing but the time of day changes
        assert terminal.received < 6000
        assert terminal.read(5) < 5 * 40 + 20 * 12  # the seconds, and once how long ago it was that a status came
        place.report("vim-1234", U, "no answer within 5 s")
        terminal.until(lambda: terminal.lines[3].startswith("vim-1234  UNREACHABLE"))
        assert terminal.lines[0].startswith("2,000 VIMs  1 UNREACHABLE  1,999 REACHABLE")


def test_on_a_slow_terminal_it_shows_what_is_now_and_not_what_was(place: Place) -> None:
    place.fill(200)
    with Terminal(WATCH, place.env, bytes_a_second=1500) as terminal:
        terminal.until(lambda: "… and" in terminal.text)
        for turn in range(16):  # far more changes than such a terminal can be told of
            names = [f"vim-{number:04}" for number in range(turn, turn + 20)]
            place.report_all(names, U if turn % 2 else R, f"turn {turn}")
            terminal.read(0.1)
        place.report("vim-0199", U, "the last one")
        before = terminal.received
        terminal.until(lambda: "the last one" in terminal.text)
        assert terminal.received - before < 6 * 1500  # two or three frames of 2 kB, and not all that could have been
        terminal.press(b"\x03")
        assert terminal.end() == 0


def test_a_terminal_that_takes_nothing_more_does_not_keep_it_from_ending(place: Place) -> None:
    place.fill(200)
    with Terminal((*WATCH[:-1], "0.1"), place.env, columns=400, rows=200) as terminal:
        terminal.until(lambda: "vim-0190" in terminal.text)
        for turn in range(8):  # nobody reads: the terminal's buffer fills
            place.report_all([f"vim-{number:04}" for number in range(190)], R, f"turn {turn} " * 30)
            terminal.stay(0.3)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(PATIENCE_S) == 0


@pytest.fixture
def valves(redis_server: RedisServer) -> Iterator[tuple[Valve, Valve]]:
    """Before the database, and before Redis."""
    require(postgres_missing())
    port = make_url(service_url("VIMMON_TEST_POSTGRES_URL")).port or 5432
    valves = Valve(port), Valve(redis_server.port)
    yield valves
    for valve in valves:
        valve.close()


@pytest.fixture
def far(tmp_path: Path, valves: tuple[Valve, Valve], redis: Redis) -> Iterator[Place]:
    """A place whose database and Redis can be shut."""
    database, redis_valve = valves
    with fresh_postgres_database() as url:
        seen_at = make_url(url).set(host="127.0.0.1", port=database.port).render_as_string(hide_password=False)
        place = Place(tmp_path, redis_valve.redis_url, url, seen_at=seen_at)
        yield place
        place.engine.dispose()


def test_database_and_redis_may_go_away_and_come_back(far: Place, valves: tuple[Valve, Valve]) -> None:
    far.register("tokyo")
    database, redis = valves
    with Terminal(WATCH, far.env, columns=200) as terminal:
        terminal.until(lambda: "tokyo" in terminal.text)
        redis.shut()
        terminal.until(lambda: "without executor and last check: Redis cannot be reached" in terminal.text)
        redis.open()
        terminal.until(lambda: "Redis cannot be reached" not in terminal.text)
        database.shut()
        terminal.until(lambda: "as it was at" in terminal.text)
        assert "tokyo" in terminal.text
        far.report("tokyo", R)
        database.open()
        terminal.until(lambda: "REACHABLE" in terminal.text and "as it was" not in terminal.text)
        terminal.press(b"q")
        assert terminal.end() == 0


class Lines:
    """The command with its output in a pipe."""

    def __init__(self, place: Place, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [str(VIMMON), *WATCH, *arguments],
            env=place.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def next(self) -> str:
        """The next line, without its time."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n").partition("  ")[2]

    def end(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_without_a_terminal_each_change_is_a_line(place: Place) -> None:
    place.register("tokyo")
    with Lines(place) as lines:
        assert lines.next() == "tokyo  PENDING"
        place.report("tokyo", R, "connected in 2 ms")
        assert lines.next() == "tokyo  PENDING -> REACHABLE  connected in 2 ms"
        place.register("osaka")
        assert lines.next() == "osaka  registered, PENDING"
        place.store.deregister("id of osaka")
        assert lines.next() == "osaka  deregistered"
        assert lines.end() == (0, "", "")


def test_no_change_is_missed_while_the_database_is_away(far: Place, valves: tuple[Valve, Valve]) -> None:
    far.register("tokyo")
    with Lines(far) as lines:
        assert lines.next() == "tokyo  PENDING"
        valves[0].shut()
        assert lines.next().startswith("the database  away  the database")
        for status in (R, U, R):
            far.report("tokyo", status)
        valves[0].open()
        assert [lines.next() for _ in range(4)] == [
            "the database  back",
            "tokyo  PENDING -> REACHABLE  told by the test",
            "tokyo  REACHABLE -> UNREACHABLE  told by the test",
            "tokyo  UNREACHABLE -> REACHABLE  told by the test",
        ]


def test_with_a_status_only_its_comings_and_goings_are_told(place: Place) -> None:
    for name in ("tokyo", "osaka", "kyoto"):
        place.register(name)
    place.report("kyoto", U)
    with Lines(place, "--status", "UNREACHABLE") as lines:
        assert lines.next() == "kyoto  UNREACHABLE  told by the test"
        place.report("tokyo", R)
        place.report("osaka", U)
        place.report("osaka", R)
        assert lines.next() == "osaka  PENDING -> UNREACHABLE  told by the test"
        assert lines.next() == "osaka  UNREACHABLE -> REACHABLE  told by the test"


def test_for_programs_each_event_is_a_line_of_json(place: Place) -> None:
    place.register("tokyo")
    with Lines(place, "--json") as lines:
        assert lines.process.stdout is not None
        first = json.loads(lines.process.stdout.readline())
        place.report("tokyo", R, "connected in 2 ms")
        second = json.loads(lines.process.stdout.readline())
        assert (first["event"], first["id"], first["status"]) == ("is", "id of tokyo", "PENDING")
        at = second.pop("at")
        assert second == {
            "event": "changed",
            "id": "id of tokyo",
            "name": "tokyo",
            "old": "PENDING",
            "status": "REACHABLE",
            "reason": "connected in 2 ms",
        }
        assert at.endswith("Z")


def test_a_database_that_was_never_there_is_an_error(place: Place) -> None:
    env = place.env | {"VIMMON_DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/vimmon"}
    ended = subprocess.run([VIMMON, *WATCH], env=env, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("error: the database postgresql://127.0.0.1")
