"""`vimmon demo`: a tour of what vimmon does, on real parts of its own, that checks everything it claims."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from vimmon.embedded.demo_endpoints import Endpoint, KeystoneEndpoint, KubernetesEndpoint
from vimmon.embedded.evidence import Evidence
from vimmon.embedded.signals import ended_by_signals
from vimmon.embedded.stack import Stack
from vimmon.embedded.tour import Narrator, StepFailed, Tour
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.lease.view import LeaseView
from vimmon.messages import BAD_ACTION
from vimmon.registry.registry import Registry
from vimmon.vim import Vim, VimStatus, VimType, parse_auth_url

INTERVALS = {
    "VIMMON_CHECK_INTERVAL_S": "3",
    "VIMMON_EXECUTOR_BEAT_S": "1",
    "VIMMON_EXECUTOR_TTL_S": "5",
    "VIMMON_CONDUCTOR_BEAT_S": "1",
    "VIMMON_CONDUCTOR_TTL_S": "5",
}
PROBE = {"kind": "http", "interval_s": 1, "confirm_interval_s": 0.3, "timeout_s": 2}
HURRY = (
    "So that you need not wait: each VIM is asked every 1 s (normally 30 s), and each action looks every 3 s "
    "(normally 60 s) whether it is still wanted."
)
WITHIN_S = 20.0
OTHERS_WITHIN_S = 15.0
LOG_LINES = 8
KUBERNETES_PORT = 6443


def run_demo(auth_urls: Sequence[str], narrator: Narrator) -> Tour:
    """The tour, as far as it went: its `ok` says whether every step did. Everything it started and wrote is gone.

    Raises InvalidInput for an auth_url that cannot be read, before anything is started; KeyboardInterrupt when the
    user ends it.
    """
    for auth_url in auth_urls:
        parse_auth_url(auth_url)
    tour = Tour(narrator)
    with ended_by_signals(), tempfile.TemporaryDirectory(prefix="vimmon-demo-") as folder:
        narrator.say(f"Everything runs on this machine, in {folder}, and is removed at the end. {HURRY}")
        demo = _Demo(Path(folder), auth_urls, tour)
        try:
            demo.run()
        except StepFailed:  # told by the tour, and in its steps; but its logs will be gone
            demo.show_logs(narrator)
        finally:
            demo.stop()
    return tour


class _Demo:
    def __init__(self, folder: Path, auth_urls: Sequence[str], tour: Tour) -> None:
        self.tour = tour
        self.stack = Stack(folder, env=INTERVALS)
        self.tokyo: Endpoint = KeystoneEndpoint()
        self.osaka: Endpoint = KubernetesEndpoint()
        self.moved: Endpoint = KubernetesEndpoint()
        self.others = {f"yours-{number}": auth_url for number, auth_url in enumerate(auth_urls, start=1)}
        self.ids: dict[str, str] = {}
        self.registry: Registry
        self.evidence: Evidence
        self.view: LeaseView

    def run(self) -> None:
        with self.tour.step("Start Redis, a database, a whole Mistral, a conductor, and two small clouds"):
            self.start()
        with self.tour.step("Register the clouds: one action in Mistral's executor begins to watch each"):
            self.register()
        if self.others:
            with self.tour.step("Look at the clouds that you named, whatever their state"):
                self.look_at_others()
        with self.tour.step("Stop osaka"):
            self.osaka.stop()
            self.await_status("osaka", VimStatus.UNREACHABLE)
        with self.tour.step("Start osaka again"):
            self.osaka.start()
            self.await_status("osaka", VimStatus.REACHABLE)
        with self.tour.step("Move osaka to another address: a new action takes over, the old one must go"):
            self.move()
        with self.tour.step("De-register everything: the actions leave, and Mistral is as it was"):
            self.deregister()

    def start(self) -> None:
        for endpoint in (self.tokyo, self.osaka):
            endpoint.start()
        self.stack.start()
        self.registry = self.stack.registry()
        self.evidence = Evidence(self.stack, self.stack.folder / "mistral" / "mistral.log")
        self.view = LeaseView(connect(self.stack.settings), Keys(self.stack.settings.prefix))
        self.tour.look = lambda: self.view.complete(self.registry.list())
        self.tour.saw(f"Redis {self.stack.redis.url}, Mistral {self.stack.mistral.url}")

    def stop(self) -> None:
        self.stack.stop()
        for endpoint in (self.tokyo, self.osaka, self.moved):
            endpoint.stop()

    def show_logs(self, narrator: Narrator) -> None:
        for log in sorted(self.stack.folder.glob("*/*.log")):
            narrator.say(f"The end of {log.name}:")
            for line in log.read_text(errors="replace").splitlines()[-LOG_LINES:]:
                narrator.saw(line)

    def register(self) -> None:
        self.add("tokyo", self.tokyo.auth_url, VimType.OPENSTACK)
        self.add("osaka", self.osaka.auth_url, VimType.KUBERNETES)
        for name, auth_url in self.others.items():
            port = urlsplit(auth_url).port
            self.add(name, auth_url, VimType.KUBERNETES if port == KUBERNETES_PORT else VimType.OPENSTACK)
        for name in ("tokyo", "osaka"):
            self.await_status(name, VimStatus.REACHABLE)
            self.await_one_monitor(name)

    def look_at_others(self) -> None:
        for name, auth_url in self.others.items():
            self.tour.expect(f"anything known of {name}", partial(self.unknown, name), within_s=OTHERS_WITHIN_S)
            vim = self.vim(name)
            self.tour.saw(f"{name} ({auth_url}) is {vim.status}: {vim.reason}")

    def move(self) -> None:
        old = self.vim("osaka")
        self.moved.start()
        new = self.registry.update("osaka", auth_url=self.moved.auth_url).vim
        self.tour.saw(f"registered at {new.auth_url}; wanted is now {_short(new)}, no more {_short(old)}")
        self.await_status("osaka", VimStatus.REACHABLE)
        self.await_one_monitor("osaka")
        self.await_farewell(old)
        self.tour.expect("the old action is refused", partial(self.not_refused, old), within_s=WITHIN_S)
        self.tour.saw(f"a report in the name of {_short(old)} is answered bad_action")
        self.osaka.stop()

    def deregister(self) -> None:
        gone = [self.registry.deregister(name).vim for name in self.ids]
        self.tour.saw(f"osaka's lease in Redis is now a tombstone: {self.evidence.lease(self.ids['osaka'])}")
        self.tour.expect("the executor holds nothing", self.still_held, within_s=WITHIN_S)
        for vim in gone:
            self.await_farewell(vim)
        self.tour.saw("the executor holds nothing any more")
        self.tour.expect("nothing of vimmon's is left in Mistral", self.still_in_mistral, within_s=WITHIN_S)
        self.tour.saw("Mistral has no workflow and no execution of vimmon's left")

    def add(self, name: str, auth_url: str, vim_type: VimType) -> None:
        self.ids[name] = self.registry.register(name, auth_url, type=vim_type, probe=PROBE).vim.id

    def vim(self, name: str) -> Vim:
        return self.registry.get(name)

    def await_status(self, name: str, status: VimStatus) -> None:
        def missing() -> str | None:
            vim = self.vim(name)
            return None if vim.status == status and vim.reason else f"{vim.status} ({vim.reason or 'no reason'})"

        self.tour.expect(f"{name} is {status}, with a reason", missing, within_s=WITHIN_S)
        self.tour.saw(f"{name} is {status}: {self.vim(name).reason}")

    def await_one_monitor(self, name: str) -> None:
        """The executor holds the VIM for the wanted action alone, and Mistral runs that one alone."""

        def missing() -> str | None:
            vim = self.vim(name)
            held, executions = self.evidence.held().get(vim.id, []), self.evidence.executions(vim.id)
            if held == [str(Lease(vim.generation, vim.action_id))] and executions == {vim.action_id: "RUNNING"}:
                return None
            return f"held: {held}, in Mistral: {executions}"

        claim = f"one monitor of {name}, that of the wanted action"
        self.tour.expect(claim, missing, within_s=WITHIN_S)
        self.tour.saw(f"{name} is held by one action, {_short(self.vim(name))}; Mistral runs that one and no other")

    def await_farewell(self, vim: Vim) -> None:
        def missing() -> str | None:
            return None if self.evidence.why_left(vim) else "no word of it in the executor's log"

        self.tour.expect(f"the action {_short(vim)} of {vim.name} left", missing, within_s=WITHIN_S)
        self.tour.saw(f"{vim.name}'s action {_short(vim)} has left; what it found: {self.evidence.why_left(vim)}")

    def not_refused(self, old: Vim) -> str | None:
        answer = self.evidence.report_as(old)
        return None if answer == BAD_ACTION else f"answered {answer}"

    def unknown(self, name: str) -> str | None:
        return "nothing yet" if self.vim(name).status == VimStatus.PENDING else None

    def still_held(self) -> str | None:
        held = self.evidence.held()
        return f"held: {held}" if held else None

    def still_in_mistral(self) -> str | None:
        return ", ".join(self.evidence.left_in_mistral()) or None


def _short(vim: Vim) -> str:
    """A lease as a reader can compare it: the generation and the beginning of the action's id."""
    return f"{vim.generation}:{(vim.action_id or '-')[:8]}…"
