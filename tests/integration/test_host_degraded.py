"""A host whose VIMs all fail at once, with a real conductor and database: the prober is the suspect, not the VIMs."""

import asyncio
from dataclasses import replace

from redis import Redis

from tests.integration.hosting import DOWN, FAST, ME, UP, Conductor, ScriptedProber, assignment_of, hosting, of, watched
from tests.support.polling import eventually
from vimmon.actions.host import Host
from vimmon.embedded.redis import RedisServer
from vimmon.vim import Vim, VimStatus

FALL = 20
EXECUTOR = f"vimmon:executor:{ME}"


async def five(host: Host, conductor: Conductor) -> list[Vim]:
    """Their failures take so long to be confirmed that all of them have failed once by then."""
    vims = [conductor.register() for _ in range(5)]
    for vim in vims:
        assignment = assignment_of(vim)
        host.take_on(replace(assignment, probe=assignment.probe.model_copy(update={"fall": FALL})))
    for vim in vims:
        await conductor.says(vim, VimStatus.REACHABLE)
    return vims


def all_fail(prober: ScriptedProber, vims: list[Vim]) -> None:
    for vim in vims:
        prober.scripts[of(vim)] = DOWN


async def probed(prober: ScriptedProber, vims: list[Vim], *, times: int) -> None:
    """Every VIM is asked so often again."""
    before = {vim.id: prober.asked[of(vim)] for vim in vims}
    await eventually(lambda: all(prober.asked[of(vim)] >= before[vim.id] + times for vim in vims))


async def test_no_vim_is_called_unreachable_by_a_prober_that_reaches_none_and_it_is_shown(
    host: Host, conductor: Conductor, redis: Redis, prober: ScriptedProber
) -> None:
    vims = await five(host, conductor)
    all_fail(prober, vims)
    await probed(prober, vims, times=FALL + 5)
    assert {conductor.row(vim)[0] for vim in vims} == {VimStatus.REACHABLE}
    await eventually(lambda: redis.hget(EXECUTOR, "prober_degraded") == b"1")


async def test_one_that_is_reached_clears_the_prober_and_what_still_fails_is_unreachable(
    host: Host, conductor: Conductor, redis: Redis, prober: ScriptedProber
) -> None:
    vims = await five(host, conductor)
    all_fail(prober, vims)
    await probed(prober, vims, times=FALL + 5)
    prober.scripts[of(vims[0])] = UP
    for vim in vims[1:]:
        await conductor.says(vim, VimStatus.UNREACHABLE)
    assert conductor.row(vims[0])[0] == VimStatus.REACHABLE
    await eventually(lambda: redis.hget(EXECUTOR, "prober_degraded") == b"0")


async def test_when_all_come_back_together_none_was_ever_called_unreachable(
    host: Host, conductor: Conductor, prober: ScriptedProber
) -> None:
    vims = await five(host, conductor)
    all_fail(prober, vims)
    await probed(prober, vims, times=FALL + 5)
    prober.scripts.clear()
    await probed(prober, vims, times=5)
    for vim in vims:
        assert [str(change.new) for change in conductor.vims.history(vim.id)] == ["REACHABLE"]
    await eventually(lambda: {host._rounds._wheel.interval_s(vim.id) for vim in vims} == {FAST["interval_s"]})


async def test_when_it_lasts_nothing_is_known_of_them(
    redis_server: RedisServer, redis: Redis, conductor: Conductor, prober: ScriptedProber
) -> None:
    async with hosting(redis_server.url, prober, unknown_after_s=0.5) as host:
        vims = await five(host, conductor)
        all_fail(prober, vims)
        for vim in vims:
            await conductor.says(vim, VimStatus.UNKNOWN)
            assert "prober degraded" in (conductor.row(vim)[1] or "")
        prober.scripts.clear()
        for vim in vims:
            await conductor.says(vim, VimStatus.REACHABLE)


async def test_four_that_fail_are_unreachable(host: Host, conductor: Conductor, prober: ScriptedProber) -> None:
    vims = [await watched(host, conductor) for _ in range(4)]
    all_fail(prober, vims)
    await asyncio.gather(*[conductor.says(vim, VimStatus.UNREACHABLE) for vim in vims])


async def seldom_asked(host: Host, conductor: Conductor, prober: ScriptedProber, count: int) -> list[Vim]:
    """Reachable VIMs that would not be asked again within the test, but for the first."""
    vims = [conductor.register() for _ in range(count)]
    for vim in vims:
        assignment = assignment_of(vim)
        interval_s = 0.1 if vim is vims[0] else 600
        host.take_on(replace(assignment, probe=assignment.probe.model_copy(update={"interval_s": interval_s})))
    for vim in vims:
        await conductor.says(vim, VimStatus.REACHABLE)
    return vims


async def test_a_vim_that_fails_alone_is_unreachable_though_others_are_seldom_asked(
    host: Host, conductor: Conductor, prober: ScriptedProber
) -> None:
    vims = await seldom_asked(host, conductor, prober, 8)
    prober.scripts[of(vims[0])] = DOWN
    await conductor.says(vims[0], VimStatus.UNREACHABLE)
    assert sum(prober.asked[of(vim)] for vim in vims[1:]) > len(vims[1:]), "others were asked, whether they are reached"


async def test_the_first_to_fail_of_a_prober_that_is_cut_off_waits_for_the_others(
    host: Host, conductor: Conductor, redis: Redis, prober: ScriptedProber
) -> None:
    vims = await seldom_asked(host, conductor, prober, 6)
    all_fail(prober, vims)
    await probed(prober, vims[:1], times=10)
    await eventually(lambda: redis.hget(EXECUTOR, "prober_degraded") == b"1")
    assert {conductor.row(vim)[0] for vim in vims} == {VimStatus.REACHABLE}


async def test_what_waits_for_too_long_is_unknown(
    redis_server: RedisServer, redis: Redis, conductor: Conductor, prober: ScriptedProber
) -> None:
    """The others are too many to be asked at once."""
    async with hosting(redis_server.url, prober, unknown_after_s=0.5) as host:
        vims = await seldom_asked(host, conductor, prober, 40)
        all_fail(prober, vims)
        await conductor.says(vims[0], VimStatus.UNKNOWN)
        assert conductor.row(vims[0])[1] == "this executor has reached no VIM since this one failed"
        assert redis.hget(EXECUTOR, "prober_degraded") == b"0"
