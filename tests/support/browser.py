"""A real Chromium without a window, driven over its DevTools protocol: one browser, as many tabs as are wanted."""

import asyncio
import base64
import contextlib
import itertools
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from vimmon.embedded.process import Child

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    *("--remote-debugging-port=0", "about:blank"),
)
START_S = 30
ANSWER_S = 30


def need_chromium() -> None:
    """Leaves the test out where there is no browser: a tool and no service, like promtool."""
    if _program() is None:
        pytest.skip("no Chromium in PATH (Debian, Ubuntu: apt install chromium)")


def _program() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.tabs: dict[str, Tab] = {}

    async def read(self) -> None:
        """Until the browser ends."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                answer = self._asked.pop(said["id"])
                if not answer.done():
                    answer.set_result(said)
            elif (tab := self.tabs.get(said.get("sessionId", ""))) is not None:
                tab.hear(said["method"], said["params"])

    async def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._asked[number] = answer = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        await self._socket.send_str(json.dumps(message))
        said = await asyncio.wait_for(answer, ANSWER_S)
        assert "error" not in said, (method, said)
        return dict(said["result"])

    async def tab(self, *, width: int = 1280, height: int = 900, scripts: bool = True) -> "Tab":
        """A new tab, of a window that nobody else uses."""
        context = await self.call("Target.createBrowserContext")
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context["browserContextId"])
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = self.tabs[attached["sessionId"]] = Tab(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Network", "Log", "Security", "Accessibility"):
            await tab.call(f"{domain}.enable")
        await tab.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        tab.context = context["browserContextId"]
        await tab.resize(width, height)
        return tab


class Tab:
    """`trouble`: what the console complained of, refused by the page's policy included; `requests`: their addresses."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self._loaded = asyncio.Event()
        self.context = ""
        self.trouble: list[str] = []
        self.requests: list[str] = []
        self.statuses: list[int] = []

    def hear(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.trouble.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.trouble.append(json.dumps(params["exceptionDetails"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.responseReceived":
            self.statuses.append(params["response"]["status"])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._browser.call(method, self._session, **params)

    async def close(self) -> None:
        await self._browser.call("Target.disposeBrowserContext", browserContextId=self.context)

    async def go(self, address: str) -> None:
        self._loaded.clear()
        await self.call("Page.navigate", url=address)
        await asyncio.wait_for(self._loaded.wait(), ANSWER_S)

    async def run(self, script: str) -> Any:
        """What an expression is, a promise's result included."""
        found = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script: str, *, within_s: float = 20) -> Any:
        """Waits until an expression is true."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not (found := await self.run(script)):
            assert asyncio.get_running_loop().time() < deadline, f"not within {within_s:g} s: {script}"
            await asyncio.sleep(0.02)
        return found

    async def resize(self, width: int, height: int, *, scale: float = 1) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600},
        )

    async def prefer(self, **features: str) -> None:
        """What the viewer prefers: `color_scheme="dark"`."""
        wanted = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        await self.call("Emulation.setEmulatedMedia", features=wanted)

    async def type(self, text: str) -> None:
        for letter in text:
            await self.call("Input.dispatchKeyEvent", type="keyDown", text=letter, key=letter)
            await self.call("Input.dispatchKeyEvent", type="keyUp", key=letter)

    async def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **({"text": "\r"} if key == "Enter" and kind == "keyDown" else {}),
            )

    async def picture(self, file: Path) -> None:
        found = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(file.write_bytes, base64.b64decode(found["data"]))


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    """Runs one with a profile of its own, and ends it with all that it started."""
    program = _program()
    assert program is not None
    child = Child("chromium", [program, f"--user-data-dir={folder / 'profile'}", *FLAGS], folder)
    try:
        address = ""

        def listens() -> bool:
            nonlocal address
            found = re.search(r"DevTools listening on (ws://\S+)", child.log.read_text(errors="replace"))
            address = found[1] if found else ""
            return found is not None

        await asyncio.to_thread(child.wait_ready, listens, START_S)
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            running = Browser(socket)
            reading = asyncio.create_task(running.read())
            try:
                yield running
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(running.call("Browser.close"), 5)
            finally:
                reading.cancel()
    finally:
        child.stop()
