"""Makes the status page out of what Redis and the database say, and keeps it for a moment: many viewers cost one look.

It answers in time, also where Redis or the database does not: then with what there is, and says what is missing.
"""

import gzip
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.resources import files
from urllib.parse import parse_qs

from redis import Redis

from vimmon.conductor.board import Board, document
from vimmon.conductor.board_time import rfc3339, written
from vimmon.conductor.board_vims import Known
from vimmon.conductor.http import Page
from vimmon.conductor.part import Part, Silent
from vimmon.conductor.reading import Reading, read_redis
from vimmon.conductor.strip import DAY, strip_of
from vimmon.conductor.troubles import troubles
from vimmon.lease.keys import Keys
from vimmon.lease.view import LeaseView
from vimmon.mistral.queue import JobQueue
from vimmon.registry.showing import Showcase
from vimmon.registry.values import Showing, Wish
from vimmon.vim import NAME_MAX, VimStatus

REDIS_TIMEOUT_S, DATABASE_TIMEOUT_S = 3.0, 4.0
FRESH_S = 2.0  # who asks for the same again within this time is told the same
IDLE_PART = 4  # and so many times as long as it took to make: with any number of VIMs and viewers
KEPT = 32  # pages with another filter each
WAIT_S = 8.0
GZIP_LEVEL = 5
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class StatusPage:
    """May be asked by several threads. Nothing is connected before it is asked."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        jobs: JobQueue,
        showcase: Showcase,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._database = Part("the database", showcase.show, timeout_s=DATABASE_TIMEOUT_S)
        self._redis = Part("Redis", lambda: read_redis(redis, keys, jobs), timeout_s=REDIS_TIMEOUT_S)
        self._watchers = Part("Redis", LeaseView(redis, keys).complete, timeout_s=REDIS_TIMEOUT_S)
        self._lock = threading.Lock()
        self._kept: OrderedDict[Wish, tuple[float, Page]] = OrderedDict()
        self._files = read_files()
        self._build = hashlib.sha256(b"".join(page.body for page in self._files.values())).hexdigest()[:16]

    def pages(self) -> Mapping[str, Callable[[str], Page]]:
        """The page, and the files that belong to it, by their paths."""
        return {"/": self.page, **{f"/{name}": _always(page) for name, page in self._files.items()}}

    def page(self, query: str = "") -> Page:
        """The page for what stands behind the ? of its address; what cannot be understood there is left out."""
        wish = read_wish(query)
        if not self._lock.acquire(timeout=WAIT_S):
            return Page(b"too many ask at once; try again\n", HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            now = self._clock()
            if wish in self._kept and now < self._kept[wish][0]:
                return self._kept[wish][1]
            page = self._make(wish)
            done = self._clock()
            self._kept[wish] = (done + max(FRESH_S, IDLE_PART * (done - now)), page)
            self._kept.move_to_end(wish)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return page
        finally:
            self._lock.release()

    def _make(self, wish: Wish) -> Page:
        board = self._look(wish)
        unwritten = document(board)
        body = written(unwritten, board.now).encode("utf-8", "replace")
        return Page(
            body,
            content_type="text/html; charset=utf-8",
            etag=hashlib.sha256(unwritten.encode("utf-8", "replace")).hexdigest()[:32],
            gzipped=gzip.compress(body, GZIP_LEVEL, mtime=0),
            headers={"X-As-Of": rfc3339(board.now)},
        )

    def _look(self, wish: Wish) -> Board:
        waiting_for_database, waiting_for_redis = self._database.begin(wish, day=DAY), self._redis.begin()
        showing: Showing | None = None
        reading: Reading | None = None
        away = {"redis": "", "database": ""}
        vims = []
        try:
            showing = waiting_for_database()
            vims = list(showing.vims)
        except Silent as silent:
            away["database"] = str(silent)
        try:
            reading = waiting_for_redis()
            vims = self._watchers.ask(vims)
        except Silent as silent:
            away["redis"] = str(silent)
        if showing is not None:
            showing = Showing(**{**showing.__dict__, "vims": vims})
        return Board(
            now=datetime.now(UTC) if showing is None else showing.now,
            wish=wish,
            showing=showing,
            known=_known(showing, reading),
            reading=reading,
            troubles=list(troubles(reading, **away, vims=sum(showing.by_status.values()) if showing else 0)),
            build=self._build,
        )


def read_wish(query: str) -> Wish:
    try:
        given = {name: values[0] for name, values in parse_qs(query, max_num_fields=20).items()}
    except ValueError:
        given = {}
    status = given.get("status", "").upper()
    text = "".join(letter for letter in given.get("name", "") if letter.isprintable()).strip()[:NAME_MAX]
    page = given.get("page", "")
    return Wish(
        status=VimStatus(status) if status in VimStatus.__members__ else None,
        text=text,
        page=int(page) if page.isdecimal() and len(page) < 7 else 1,
    )


def read_files() -> dict[str, Page]:
    """The page's style, script and icons, as the package has them."""
    found = {}
    for file in sorted(files("vimmon.conductor").joinpath("static").iterdir(), key=lambda file: file.name):
        body, kind = file.read_bytes(), TYPES.get(file.name[file.name.rfind(".") :])
        if kind is not None:
            found[file.name] = Page(
                body,
                content_type=f"{kind}; charset=utf-8",
                etag=hashlib.sha256(body).hexdigest()[:32],
                gzipped=gzip.compress(body, 9, mtime=0),
            )
    return found


def _known(showing: Showing | None, reading: Reading | None) -> Known:
    strips = {}
    if showing is not None:
        for vim in showing.vims:
            moves = showing.moves.get(vim.id, ())
            strips[vim.id] = strip_of(vim, moves, now=showing.now, known_from=showing.known_from)
    executors = reading.executors.values() if reading is not None else ()
    expiries: dict[str, float] = {}
    for one in executors:
        expiries |= one.metrics.certificates
    return Known(strips, frozenset(vim_id for one in executors for vim_id in one.metrics.flapping), expiries)


def _always(page: Page) -> Callable[[str], Page]:
    return lambda query: page
