"""How soon a change is confirmed, and that a VIM is asked at its own interval again after that."""

import time

from tests.integration.hosting import DOWN, ScriptedProber, assigned, of
from tests.support.polling import eventually
from vimmon.actions.host import Host
from vimmon.actions.monitor import Assignment
from vimmon.probes import Outcome
from vimmon.vim import VimStatus

FALL = 3


def failing(prober: ScriptedProber, vim: Assignment) -> list[float]:
    """When it is asked."""
    asked_at: list[float] = []

    def fail() -> Outcome:
        asked_at.append(time.monotonic())
        return DOWN

    prober.scripts[of(vim)] = fail
    return asked_at


async def test_a_failure_is_confirmed_within_its_confirm_intervals_and_then_the_vim_is_asked_at_its_own(
    lone_host: Host, prober: ScriptedProber
) -> None:
    seldom = assigned("seldom", interval_s=600, confirm_interval_s=0.1, fall=FALL)
    asked_at = failing(prober, seldom)
    lone_host.take_on(seldom)
    await eventually(lambda: lone_host._monitors["seldom"].health.status == VimStatus.UNREACHABLE)
    assert len(asked_at) == FALL
    often = assigned("often", interval_s=2, confirm_interval_s=0.1, fall=FALL)
    asked_at = failing(prober, often)
    lone_host.take_on(often)
    await eventually(lambda: len(asked_at) > FALL)
    *_, last, afterwards = asked_at[: FALL + 1]
    assert afterwards - last > 1
