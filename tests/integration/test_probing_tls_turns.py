"""Turns of TLS handshakes: who waits for one is not held against a VIM, and those that hang keep no others waiting."""

import asyncio
import time

import pytest

from tests.integration.securing import secure, shaking_hands
from tests.support.authority import Authority
from tests.support.polling import eventually
from tests.support.servers import DOWN, UP, VERSIONS, Web, check, new_prober, serving, silence
from vimmon.actions.probing import handshakes
from vimmon.probes import Trace


async def test_waiting_for_a_handshakes_turn_does_not_count_against_the_vim(authority: Authority) -> None:
    async with (
        new_prober(handshakes=1) as prober,
        serving(silence) as silent,
        serving(Web(300, VERSIONS), tls=authority.server()) as good,
    ):
        slow = asyncio.ensure_future(prober.probe(secure(silent, timeout_s=2)))
        await eventually(lambda: prober._shared.handshakes.running == 1)
        trace = Trace()
        quick = asyncio.ensure_future(prober.probe(secure(good, timeout_s=1), trace))
        await eventually(lambda: prober.waiting == 1)
        check(await slow, DOWN, "no answer within 2 s")
        outcome = await quick
        check(outcome, UP, "HTTP 300")
        assert outcome.rtt_ms is not None
        assert 0 < outcome.rtt_ms < 1000
        assert trace.tls_ms is not None
        assert trace.tls_ms < 1000
        assert prober.waiting == 0


async def test_a_probe_cancelled_while_it_waits_for_a_handshakes_turn_leaves_it_to_others(authority: Authority) -> None:
    async with (
        new_prober(handshakes=1) as prober,
        serving(silence) as silent,
        serving(Web(300, VERSIONS), tls=authority.server()) as good,
    ):
        slow = asyncio.ensure_future(prober.probe(secure(silent, timeout_s=5)))
        await eventually(lambda: prober._shared.handshakes.running == 1)
        waiting = [asyncio.ensure_future(prober.probe(secure(good))) for _ in range(2)]
        await eventually(lambda: prober.waiting == 2)
        waiting[0].cancel()
        slow.cancel()
        check(await waiting[1], UP, "HTTP 300")
        await asyncio.gather(slow, waiting[0], return_exceptions=True)
        assert prober._shared.handshakes.running == 0


async def test_who_waits_for_a_turn_keeps_no_connection_open_meanwhile(authority: Authority) -> None:
    closed = asyncio.Event()

    async def note(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        closed.set()

    async with new_prober(handshakes=1) as prober, serving(silence) as silent, serving(note) as port:
        first = asyncio.ensure_future(prober.probe(secure(silent, timeout_s=30)))
        await eventually(lambda: prober._shared.handshakes.running == 1)
        second = asyncio.ensure_future(prober.probe(secure(port)))
        await asyncio.wait_for(closed.wait(), 5)
        assert prober.waiting == 1
        for task in (second, first):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def test_a_server_that_closes_idle_connections_is_reached_after_waiting_for_a_turn(authority: Authority) -> None:
    answer = b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"
    async with new_prober(handshakes=1) as prober, serving(silence) as silent:
        with shaking_hands(authority.server(), patience_s=0.2, answer=answer) as good:
            check(await prober.probe(secure(good)), UP, "HTTP 401")
            slow = asyncio.ensure_future(prober.probe(secure(silent, timeout_s=0.45)))
            await eventually(lambda: prober._shared.handshakes.running == 1)
            quick = asyncio.ensure_future(prober.probe(secure(good)))
            await eventually(lambda: prober.waiting == 1)
            check(await quick, UP, "HTTP 401")
            check(await slow, DOWN, "no answer within 0.45 s")


async def test_vims_that_hang_in_the_handshake_keep_nobody_else_waiting(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "QUICK_S", 0.05)
    async with (
        new_prober(handshakes=4) as prober,
        serving(silence) as silent,
        serving(Web(300, VERSIONS), tls=authority.server()) as good,
    ):
        hanging = [asyncio.ensure_future(prober.probe(secure(silent, timeout_s=30))) for _ in range(16)]
        await eventually(lambda: prober._shared.handshakes.running + prober.waiting == 16)
        async with asyncio.timeout(10):
            check(await prober.probe(secure(good)), UP, "HTTP 300")
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        assert prober._shared.handshakes.running == 0


async def test_no_more_handshakes_run_than_the_lanes_have_turns(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "QUICK_S", 0.01)
    async with new_prober(handshakes=1) as prober, serving(silence) as silent:
        hanging = [asyncio.ensure_future(prober.probe(secure(silent, timeout_s=0.5))) for _ in range(8)]
        turns = prober._shared.handshakes
        await eventually(lambda: (turns.quick.running, turns.slow.running, prober.waiting) == (1, 4, 3))
        for outcome in await asyncio.gather(*hanging):
            check(outcome, DOWN, "no answer within 0.5 s")
        assert turns.running == 0


async def test_a_handshake_that_is_slow_is_remembered(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "QUICK_S", 0.05)
    async with new_prober() as prober, serving(silence) as silent:
        probe = secure(silent, timeout_s=0.1)
        check(await prober.probe(probe), DOWN, "no answer within 0.1 s")
        monkeypatch.setattr(handshakes, "QUICK_S", 60)
        again = asyncio.ensure_future(prober.probe(probe))
        turns = prober._shared.handshakes
        await eventually(lambda: turns.running)
        assert (turns.quick.running, turns.slow.running) == (0, 1)
        await again


async def test_a_handshake_in_which_this_process_was_held_up_is_finished(authority: Authority) -> None:
    answer = b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"
    async with new_prober() as prober:
        with shaking_hands(authority.server(), answer=answer) as port:
            probe = secure(port, timeout_s=0.4)
            check(await prober.probe(probe), UP, "HTTP 401")
            probing = asyncio.ensure_future(prober.probe(probe))
            while not prober._shared.handshakes.running:  # noqa: ASYNC110 - in the very turn in which it begins
                await asyncio.sleep(0)
            time.sleep(0.8)  # noqa: ASYNC251 - the loop is late
            check(await probing, UP, "HTTP 401")
