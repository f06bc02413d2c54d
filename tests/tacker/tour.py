"""A tour of what an operator of Tacker gets: its VIMs are watched as they come, change and go. It checks what it shows.

Tacker's user uses the openstack command; what becomes of it is seen in Redis and Mistral, and in what vimmon says.
"""

import time
from typing import Any

from tests.tacker.ground import POLL_S, Ground
from vimmon.embedded.tour import Narrator, StepFailed, Tour
from vimmon.errors import VimNotFound
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.lease.view import LeaseView
from vimmon.vim import Vim, VimStatus

PROBE = {"kind": "http", "interval_s": 1, "confirm_interval_s": 0.3, "timeout_s": 2}
HURRY = (
    f"So that you need not wait: Tacker's list is read every {POLL_S} s (normally 60 s), and each action looks every "
    "3 s (normally 60 s) whether it is still wanted."
)
WITHIN_S = 30.0
SLACK_S = 8.0  # what a busy machine adds to a poll
CANNOT_REACH = 3  # what the vimmon command calls "something it needs cannot be reached"
LOG_LINES = 8
NAME = "tokyo"


def show(ground: Ground, narrator: Narrator) -> Tour:
    """The tour, as far as it went: its `ok` says whether every step did. What it started is left running."""
    tour = Tour(narrator)
    narrator.say(f"Everything runs on this machine, in {ground.folder}, and is removed at the end. {HURRY}")
    shown = _Shown(ground, tour)
    try:
        shown.run()
    except StepFailed:  # told by the tour, and in its steps; but the logs will be gone
        shown.show_logs(narrator)
    return tour


class _Shown:
    def __init__(self, ground: Ground, tour: Tour) -> None:
        self.ground = ground
        self.tour = tour

    def run(self) -> None:
        with self.tour.step(
            "Start Keystone, a Tacker server and its conductor; Redis, Mistral, and vimmon's conductor"
        ):
            self.start()
        with self.tour.step("Follow Tacker: vimmon tacker sync"):
            self.follow()
        with self.tour.step(f"openstack vim register {NAME}: within one poll it is watched"):
            first = self.register()
        with self.tour.step("Stop Keystone, which is the VIM and also lets vimmon into Tacker"):
            self.stop_keystone(first)
        with self.tour.step("Start Keystone again"):
            self.start_keystone(first)
        with self.tour.step("Delete the VIM in Tacker and create it with another auth_url: Tacker has no other way"):
            second = self.create_anew(first)
        with self.tour.step(f"openstack vim delete {NAME}: nothing of it is left"):
            self.delete(second)

    def start(self) -> None:
        self.ground.start()
        self.registry = self.ground.stack.registry()
        settings = self.ground.stack.settings
        self.view = LeaseView(connect(settings), Keys(settings.prefix))
        self.tour.look = lambda: self.view.complete(self.registry.list())
        self.tour.saw(f"Keystone {self.ground.keystone.url()}, Tacker {self.ground.tacker.url}")
        self.tour.saw(f"Redis {self.ground.stack.redis.url}, Mistral {self.ground.stack.mistral.url}")

    def follow(self) -> None:
        self.ground.start_sync()
        self.tour.saw(f"vimmon tacker sync --every {POLL_S}, as Tacker's administrator; Tacker itself is not changed")

    def register(self) -> Vim:
        known = self.create(self.ground.keystone.url(""))
        vim = self.watched(known)
        self.tour.saw(f"it has Tacker's id, {vim.id}, and the auth_url that Tacker made: {vim.auth_url}")
        self.registry.update(vim.id, probe=PROBE)  # an operator's own choice, which Tacker's list leaves alone
        self.tour.saw(f"from now on it is asked every second (normally 30 s): vimmon vim update {NAME} --probe …")
        self.await_status(vim.id, VimStatus.REACHABLE)
        self.await_one_monitor(vim.id)
        return self.registry.get(vim.id)

    def stop_keystone(self, vim: Vim) -> None:
        self.ground.keystone.stop()
        self.await_status(vim.id, VimStatus.UNREACHABLE)
        ended = self.ground.sync_once()
        if ended.returncode != CANNOT_REACH:
            raise StepFailed(f"vimmon tacker sync --once ended with {ended.returncode}: {ended.stdout}{ended.stderr}")
        (error,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
        self.tour.saw(f"vimmon tacker sync --once, which cannot log in now, says: {error}")
        now = self.registry.get(vim.id)
        if (now.generation, now.auth_url) != (vim.generation, vim.auth_url):
            raise StepFailed(f"a list that could not be read changed {vim} to {now}")
        self.tour.saw("a list that cannot be read changes nothing: the VIM stays registered, and watched")

    def start_keystone(self, vim: Vim) -> None:
        self.ground.keystone.start()
        self.await_status(vim.id, VimStatus.REACHABLE)

    def create_anew(self, old: Vim) -> Vim:
        self.ground.openstack("vim", "delete", NAME)
        known = self.create(self.ground.elsewhere.url(""))
        new = self.watched(known)
        if new.id == old.id or new.auth_url == old.auth_url:
            raise StepFailed(f"watched is {new}, which is not new")
        self.await_gone(old)
        self.await_status(new.id, VimStatus.REACHABLE)
        self.await_one_monitor(new.id)
        return self.registry.get(new.id)

    def delete(self, vim: Vim) -> None:
        self.ground.openstack("vim", "delete", NAME)
        self.tour.saw(f"openstack vim delete {NAME}")
        self.await_gone(vim)
        self.tour.expect("nothing of vimmon's is left in Mistral", self.still_in_mistral, within_s=WITHIN_S)
        self.tour.saw("Mistral has no workflow and no execution of vimmon's left")
        self.tour.expect("the executor holds nothing", self.still_held, within_s=WITHIN_S)
        self.tour.saw("the executor holds nothing")

    def create(self, auth_url: str) -> dict[str, Any]:
        known = self.ground.register(NAME, auth_url)
        self.tour.saw(f"openstack vim register {NAME}: Tacker knows it as {known['id']}, at {known['auth_url']}")
        return known

    def watched(self, known: dict[str, Any]) -> Vim:
        begun = time.monotonic()
        within_s = POLL_S + SLACK_S
        self.tour.expect(f"{NAME} is watched", lambda: self.not_watched(known), within_s=within_s)
        self.tour.saw(f"vimmon watched it {time.monotonic() - begun:.1f} s after that")
        return self.registry.get(str(known["id"]))

    def not_watched(self, known: dict[str, Any]) -> str | None:
        try:
            vim = self.registry.get(str(known["id"]))
        except VimNotFound:
            return "vimmon does not know it"
        found = (vim.name, vim.auth_url, str(vim.type), str(vim.origin))
        return None if found == (NAME, known["auth_url"], "openstack", "tacker") else f"{vim}"

    def await_status(self, vim_id: str, status: VimStatus) -> None:
        def missing() -> str | None:
            vim = self.registry.get(vim_id)
            return None if vim.status == status and vim.reason else f"{vim.status} ({vim.reason or 'no reason'})"

        self.tour.expect(f"{NAME} is {status}, with a reason", missing, within_s=WITHIN_S)
        self.tour.saw(f"{NAME} is {status}: {self.registry.get(vim_id).reason}")

    def await_one_monitor(self, vim_id: str) -> None:
        """The executor holds the VIM for the wanted action alone, and Mistral runs that one alone."""
        evidence = self.ground.evidence

        def missing() -> str | None:
            vim = self.registry.get(vim_id)
            held, executions = evidence.held().get(vim_id, []), evidence.executions(vim_id)
            if held == [str(Lease(vim.generation, vim.action_id))] and executions == {vim.action_id: "RUNNING"}:
                return None
            return f"held: {held}, in Mistral: {executions}"

        self.tour.expect(f"one monitor of {NAME}, that of the wanted action", missing, within_s=WITHIN_S)
        self.tour.saw("one action in Mistral's executor holds it, the wanted one; Mistral runs no other for it")

    def await_gone(self, vim: Vim) -> None:
        """De-registered, its action has left, and its lease is a tombstone."""
        evidence = self.ground.evidence

        def missing() -> str | None:
            if any(known.id == vim.id for known in self.registry.list()):
                return "vimmon watches it"
            if (why := evidence.why_left(vim)) is None:
                return "its action has not left"
            if evidence.executions(vim.id):
                return "Mistral has executions of it"
            lease = evidence.lease(vim.id)
            return None if lease == str(Lease(vim.generation + 1, None)) else f"lease {lease}, {why}"

        self.tour.expect(f"the VIM {vim.id} is gone", missing, within_s=WITHIN_S)
        self.tour.saw(f"the action of {vim.auth_url} has left; what it found: {evidence.why_left(vim)}")
        self.tour.saw(f"its lease in Redis is a tombstone, {evidence.lease(vim.id)}, and expires by itself")

    def still_held(self) -> str | None:
        held = self.ground.evidence.held()
        return f"held: {held}" if held else None

    def still_in_mistral(self) -> str | None:
        return ", ".join(self.ground.evidence.left_in_mistral()) or None

    def show_logs(self, narrator: Narrator) -> None:
        for log in sorted(self.ground.folder.rglob("*.log")):
            narrator.say(f"The end of {log.name}:")
            for line in log.read_text(errors="replace").splitlines()[-LOG_LINES:]:
                narrator.saw(line)
