"""How soon a change is confirmed, and that a VIM is asked at its own interval again after that."""

import time
from itertools import pairwise

from tests.integration.hosting import DOWN, ScriptedProber, assigned, of
from tests.support.polling import eventually
from vimmon.actions.host import Host
from vimmon.probes import Outcome
from vimmon.vim import VimStatus

INTERVAL_S = 2.0
FALL = 3


async def test_a_failure_is_confirmed_within_its_confirm_intervals_and_then_the_vim_is_asked_at_its_own(
    lone_host: Host, prober: ScriptedProber
) -> None:
    slow = assigned("slow", interval_s=INTERVAL_S, confirm_interval_s=0.1, fall=FALL)
    asked_at: list[float] = []

    def fail() -> Outcome:
        asked_at.append(time.monotonic())
        return DOWN

    prober.scripts[of(slow)] = fail
    lone_host.take_on(slow)
    await eventually(lambda: lone_host._monitors["slow"].health.status == VimStatus.UNREACHABLE)
    assert len(asked_at) == FALL
    await eventually(lambda: len(asked_at) > FALL)
    *confirming, afterwards = [later - earlier for earlier, later in pairwise(asked_at)]
    assert max(confirming) < INTERVAL_S / 2
    assert afterwards > INTERVAL_S / 2
