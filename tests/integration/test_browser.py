"""The status page as people have it: in a real Chromium, with few VIMs and with very many, by day and by night."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis import Redis
from sqlalchemy import Engine, func, select, update

from tests.integration.test_http import served, watch
from tests.support.browser import Browser, Tab, browser, need_chromium
from tests.support.fleet import fill
from tests.support.polling import eventually
from tests.support.services import redis_missing
from tests.support.strict import require
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import RedisServer
from vimmon.lease.keys import Keys
from vimmon.registry.database import open_engine, upgrade
from vimmon.registry.models import VIMS
from vimmon.vim import VimStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOWN, UNKNOWN, PENDING = VimStatus.UNREACHABLE, VimStatus.UNKNOWN, VimStatus.PENDING
FLEETS = {3: [DOWN], 300: [DOWN] * 3 + [UNKNOWN] * 2 + [PENDING], 10_000: [DOWN] * 40 + [UNKNOWN] * 12 + [PENDING] * 5}
ROWS = "document.querySelectorAll('#vims tr').length"
HEADLINE = "document.getElementById('headline').textContent"
CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const known = {};
  const light = (color) => known[color] ??= measure(color);
  const measure = (color) => {
    canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => {
      v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if (color !== 'rgba(0, 0, 0, 0)') return color;
    }
    return 'white';
  };
  const found = {};
  for (const element of document.querySelectorAll('body *')) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
    if (element.closest('svg, [hidden], .aside, .skip')) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found[element.className || element.nodeName] = ratio;
  }
  return found;
})()"""


class Site:
    """A conductor's pages about one fleet, and the tables behind them."""

    def __init__(self, folder: Path, redis_url: str, count: int) -> None:
        url = f"sqlite:///{folder}/{count}.sqlite"
        self.engine: Engine = open_engine(url)
        upgrade(self.engine)
        self.redis, self.port = Redis.from_url(redis_url), free_port()
        self.ids = fill(self.engine, self.redis, count, absent=FLEETS[count], keys=Keys(f"fleet{count}"))
        self.pages = watch(redis_url, url, prefix=f"fleet{count}").pages()
        self.address = f"http://127.0.0.1:{self.port}/"
        self._served = ExitStack()

    def open(self) -> None:
        self._served.enter_context(served(self.pages, self.port))

    def close(self) -> None:
        self._served.close()

    def become(self, vim_id: str, **columns: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(update(VIMS).where(VIMS.c.id == vim_id).values(**columns))


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Site]]:
    require(redis_missing())
    need_chromium()
    folder = tmp_path_factory.mktemp("sites")
    with RedisServer(folder / "redis") as redis:
        made = {count: Site(folder, redis.url, count) for count in FLEETS}
        for site in made.values():
            site.open()
        yield made
        for site in made.values():
            site.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewed several times a second, and from the tables each time."""
    monkeypatch.setattr("vimmon.conductor.board.RENEW_S", 0.3)
    monkeypatch.setattr("vimmon.conductor.status_page.FRESH_S", 0)
    monkeypatch.setattr("vimmon.conductor.status_page.IDLE_PART", 0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    need_chromium()
    async with browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.mark.parametrize("count", FLEETS)
async def test_what_is_wrong_is_seen_at_once_however_many_there_are(
    chromium: Browser, sites: dict[int, Site], count: int
) -> None:
    site, absent = sites[count], FLEETS[count]
    tab = await chromium.tab()
    for width, scheme in ((1280, "light"), (390, "dark")):
        await tab.resize(width, 844)
        await tab.prefer(color_scheme=scheme)
        await tab.go(site.address)
        are = f"{absent.count(DOWN)} of {count:,} VIMs {'is' if absent.count(DOWN) == 1 else 'are'} UNREACHABLE"
        assert await tab.run(HEADLINE) == f"✕{are}"
        assert await tab.run("document.title") == f"{are} – vimmon"
        assert await tab.run(ROWS) == min(count, 500)
        first = "document.querySelector('#vims tr .mark')"
        assert await tab.run(f"{first}.textContent") == "✕ UNREACHABLE"
        assert await tab.run(f"{first}.getBoundingClientRect().bottom < innerHeight"), "without scrolling"
        assert await tab.run("document.documentElement.scrollWidth <= innerWidth"), "nothing to scroll to the side for"
        assert await tab.run(CONTRAST) == {}, (width, scheme)
    assert await tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 23)"
    assert tab.trouble == [], "nothing was refused, nothing failed"
    assert {address.rpartition("/")[0] + "/" for address in tab.requests} == {site.address}
    await tab.close()


@pytest.mark.usefixtures("quick")
async def test_it_renews_itself_and_leaves_the_viewer_where_he_is(chromium: Browser, sites: dict[int, Site]) -> None:
    site, tab = sites[300], await chromium.tab()
    await tab.go(site.address)
    await tab.run("document.getElementById('filter').focus()")
    await tab.run("window.mark = document.querySelector('#vims tr:nth-child(90)'); mark.same = true; scrollTo(0, 900)")
    before = await tab.run("document.getElementById('as-of').dateTime")
    site.become(site.ids[-1], status=DOWN, reason="it broke just now", status_since=func.current_timestamp())
    await tab.until(f"{HEADLINE}.startsWith('✕4 of 300')")
    assert await tab.run("document.querySelector('#vims tr').textContent.includes('it broke just now')")
    assert await tab.run("document.title.startsWith('4 of 300')")
    await tab.until(f"document.getElementById('as-of').dateTime > {before!r}")
    assert await tab.run("scrollY") > 800
    assert await tab.run("document.activeElement.id") == "filter"
    assert await tab.run("mark.isConnected && document.getElementById(mark.id).same"), "what is the same stays"
    site.become(site.ids[-1], status=VimStatus.REACHABLE)
    await tab.until(f"{HEADLINE}.startsWith('✕3 of 300')")
    tab.statuses.clear()
    await eventually(lambda: 304 in tab.statuses)
    ticking = "document.querySelector('#vims tr .c2 time').textContent"
    await tab.until(f"{ticking} !== {await tab.run(ticking)!r} || {ticking}.includes('h')")
    assert tab.trouble == []
    await tab.close()


@pytest.mark.usefixtures("quick")
async def test_when_the_conductor_is_away_the_page_says_how_old_it_is_until_it_is_back(
    chromium: Browser, sites: dict[int, Site]
) -> None:
    site, tab = sites[3], await chromium.tab()
    await tab.go(site.address)
    assert await tab.run("document.getElementById('away').hidden")
    site.close()
    await tab.until("!document.getElementById('away').hidden")
    said = await tab.run("document.getElementById('away').textContent")
    assert said.startswith("The conductor is away (no answer). What you see is from ")
    assert await tab.run("document.title.startsWith('OLD · 1 of 3')")
    await tab.until("Number(getComputedStyle(document.querySelector('main')).opacity) < 0.7")
    await tab.run("scrollTo(0, 9999)")
    box = "document.getElementById('away').getBoundingClientRect()"
    assert await tab.run(f"{box}.top >= 0 && {box}.bottom <= innerHeight"), "wherever one has scrolled to"
    assert await tab.run(ROWS) == 3, "what is known is still there"
    site.open()
    await tab.until("document.getElementById('away').hidden && !document.title.startsWith('OLD')")
    await tab.close()


async def test_it_can_be_filtered_by_keyboard_alone(chromium: Browser, sites: dict[int, Site]) -> None:
    site, tab = sites[10_000], await chromium.tab()
    await tab.go(site.address)
    await tab.press("Tab", 9)
    assert await tab.run("document.activeElement.className") == "skip"
    while await tab.run("document.activeElement.id") != "filter":
        await tab.press("Tab", 9)
    await tab.type("00017")
    await tab.until(f"{ROWS} === 1")
    assert await tab.run("location.search") == "?name=00017"
    assert await tab.run("document.activeElement.value") == "00017"
    assert "1 VIM with “00017”" in await tab.run("document.getElementById('found').textContent")
    await tab.press("Enter", 13)
    assert await tab.run(ROWS) == 1
    await tab.go(f"{sites[300].address}?status=PENDING")
    assert await tab.run(ROWS) == 1
    assert await tab.run("document.querySelector('[aria-current]').textContent.trim()") == "1 … PENDING"
    await tab.go(f"{site.address}?page=20")
    assert await tab.run(ROWS) == 500
    assert await tab.run("document.querySelector('#pager').textContent.includes('page 20 of 20')")
    assert tab.trouble == []
    await tab.close()


async def test_without_javascript_it_is_complete_and_can_be_filtered(chromium: Browser, sites: dict[int, Site]) -> None:
    site, tab = sites[300], await chromium.tab(scripts=False)
    await tab.go(site.address)
    assert await tab.run(ROWS) == 300
    assert "reload for news" in await tab.run("document.querySelector('header').textContent")
    await tab.run("document.getElementById('filter').focus()")
    await tab.type("00002")
    await tab.press("Enter", 13)
    await tab.until(f"document.readyState === 'complete' && {ROWS} === 1")
    assert await tab.run("location.search") == "?name=00002"
    assert tab.trouble == []
    await tab.close()


@pytest.mark.usefixtures("quick")
async def test_what_a_vim_or_a_viewer_says_is_never_run(chromium: Browser, sites: dict[int, Site]) -> None:
    site, tab = sites[3], await chromium.tab()
    attack = "<img src=x onerror='window.hurt=1'><script>window.hurt=1</script>"
    with site.engine.connect() as connection:
        name = connection.execute(select(VIMS.c.name).where(VIMS.c.id == site.ids[0])).scalar_one()
    site.become(site.ids[0], reason=attack, name=attack)
    await tab.go(f"{site.address}?name=%3Cimg%20src%3Dx%20onerror%3D%22window.hurt%3D1%22%3E")
    assert await tab.run("document.querySelectorAll('#board img, #board script').length") == 0
    await tab.go(site.address)
    assert (await tab.run("document.querySelector('#vims tr').textContent")).count(attack) == 2
    site.become(site.ids[0], reason=f"2{attack}")
    await tab.until("document.querySelector('#vims tr').textContent.includes('2<img')")
    assert await tab.run("window.hurt === undefined && !document.querySelector('#board img, #board script')")
    assert tab.trouble == []
    # And were one to stand in the page all the same, the policy would not let it run.
    await tab.run("document.body.insertAdjacentHTML('beforeend', '<img src=icon-bad.svg onload=\"window.hurt=1\">')")
    await eventually(lambda: tab.trouble)
    assert "Content Security Policy" in tab.trouble[0]
    assert await tab.run("window.hurt === undefined")
    site.become(site.ids[0], name=name)
    await tab.close()


async def test_a_reader_hears_a_table_with_its_heads_and_what_the_strips_show(
    chromium: Browser, sites: dict[int, Site]
) -> None:
    tab = await chromium.tab(width=390)
    await tab.go(sites[3].address)
    heard = await heard_in(tab)
    tables = [name for role, name in heard if role == "table"]
    assert tables[0] == "The VIMs: those that are not reachable first, the latest to become so at the top"
    heads = [name for role, name in heard if role == "columnheader"]
    assert heads[:5] == ["Status", "VIM", "For", "Reason", "Last 24 hours"]
    assert len([1 for role, _ in heard if role == "rowheader"]) == 3
    assert [name for role, name in heard if role == "image" and name.startswith("Last 24 hours: 100 % REACHABLE")]
    assert ("searchbox", "Name or id") in heard
    assert ("link", "1 UNREACHABLE") in heard
    assert ("heading", "1 of 3 VIMs is UNREACHABLE") in heard
    await tab.close()


async def heard_in(tab: Tab) -> list[tuple[str, str]]:
    """The roles and names that the browser tells a screen reader."""
    nodes = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
    return [
        (node["role"]["value"], " ".join(node.get("name", {}).get("value", "").split()))
        for node in nodes
        if not node["ignored"]
    ]


async def test_who_wants_no_motion_has_none(chromium: Browser, sites: dict[int, Site]) -> None:
    tab = await chromium.tab()
    await tab.prefer(reduced_motion="reduce")
    await tab.go(sites[3].address)
    moving = "getComputedStyle(document.querySelector('main')).transitionDuration"
    await tab.run("document.documentElement.classList.add('old')")
    assert await tab.run(moving) == "0s"
    await tab.prefer(reduced_motion="no-preference")
    assert await tab.run(moving) != "0s"
    await tab.close()
