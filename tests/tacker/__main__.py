"""`make tacker-demo`: shows vimmon beside a real Tacker and checks it. Exit code 1: a step failed; 3: a part lacks."""

import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.tacker.ground import Ground, missing
from tests.tacker.tour import show
from vimmon.cli.narrator import LiveNarrator, PlainNarrator
from vimmon.cli.output import out
from vimmon.embedded.signals import ended_by_signals
from vimmon.embedded.tour import Narrator, Tour

CUT_SHORT = 130  # what a shell calls "ended by Ctrl-C"


def main() -> int:
    if why := missing():
        sys.stderr.write(f"error: {why}\n  Where they are is said by VIMMON_TEST_RABBITMQ_URL and _MARIADB_URL\n")
        return 3
    started = time.monotonic()
    try:
        with LiveNarrator() if sys.stdout.isatty() else PlainNarrator() as narrator:
            tour = _shown(narrator)
    except KeyboardInterrupt:
        out().print("\nended before its end; everything was stopped and removed")
        return CUT_SHORT
    if tour.ok:
        out().print(f"\nEverything that was claimed was checked, in {time.monotonic() - started:.0f} s.")
        return 0
    out().print(f"\nStep {tour.steps[-1].number} failed: {tour.steps[-1].title}")
    return 1


def _shown(narrator: Narrator) -> Tour:
    with (
        ended_by_signals(),
        tempfile.TemporaryDirectory(prefix="vimmon-tacker-") as folder,
        closing(Ground(Path(folder))) as ground,
    ):
        return show(ground, narrator)


if __name__ == "__main__":
    sys.exit(main())
