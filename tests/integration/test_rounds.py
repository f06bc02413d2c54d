"""Rounds of real icmp probes: what is only counted, and what is told."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from re import fullmatch

import pytest
from redis.asyncio import Redis

from tests.support.network import in_own_network, set_sysctl
from tests.support.polling import eventually
from vimmon.actions.metrics import Metrics
from vimmon.actions.presence import Presence
from vimmon.actions.probing import Prober
from vimmon.actions.rounds import Rounds
from vimmon.actions.suspicion import Suspicion
from vimmon.actions.wheel import Entry
from vimmon.lease.keys import Keys
from vimmon.lease.model import Lease
from vimmon.probes import IcmpProbe, Outcome
from vimmon.vim import VimStatus

PROBE = IcmpProbe(auth_url="http://127.0.0.1:5000", interval_s=0.1, timeout_s=0.2)
SILENT = "ipv4/icmp_echo_ignore_all"


@dataclass
class Bench:
    """One VIM that was reached before. Redis is not asked for anything."""

    rounds: Rounds
    presence: Presence
    metrics: Metrics
    suspicion: Suspicion
    ended: list[Outcome | Exception] = field(default_factory=list)

    @property
    def reached(self) -> int:
        """How many probes reached it, and were only counted."""
        return self.metrics._again["icmp"]


@asynccontextmanager
async def bench(*, settled: bool, probe: IcmpProbe = PROBE) -> AsyncIterator[Bench]:
    async with Prober() as prober:
        loop = asyncio.get_running_loop()
        suspicion, metrics = Suspicion(lasting_s=120), Metrics(prober, loop.time)
        held = {"v": Lease(1, "a")}
        presence = Presence(Redis(), Keys("vimmon"), "me", held, metrics.fields, beat_s=10, ttl_s=30, seen_s=60)
        ended: list[Outcome | Exception] = []
        rounds = Rounds(
            prober,
            presence,
            metrics,
            suspicion,
            rng=random.Random(1),
            ended=lambda _, outcome: ended.append(outcome),
        )
        suspicion.saw("v", True, loop.time())
        rounds.add("v", probe)
        rounds.settle("v", settled=settled)

        async def turn() -> None:
            while True:
                await rounds.turn(lambda: rounds.begin(alone=False))

        turning = asyncio.create_task(turn())
        try:
            yield Bench(rounds, presence, metrics, suspicion, ended)
        finally:
            turning.cancel()
            await rounds.end()
        assert prober.running == 0


async def test_a_settled_vim_that_replies_is_only_counted_until_it_falls_silent() -> None:
    async def test() -> None:
        async with bench(settled=True) as it:
            added_at = it.presence._seen.get("v", 0.0)
            await eventually(lambda: it.reached >= 3)
            assert it.ended == []
            assert fullmatch(r"ICMP reply in \d+ ms", it.rounds.counted("v") or "")
            assert it.presence._seen["v"] > added_at
            assert sum(it.metrics._answers["icmp"].spread().counts) == it.reached
            assert sum(it.metrics._late.spread().counts) >= it.reached
            set_sysctl(SILENT, 1)
            await eventually(lambda: it.ended)
            (outcome, *_) = it.ended
            assert isinstance(outcome, Outcome)
            assert (outcome.status, outcome.reason) == (VimStatus.UNREACHABLE, "no answer within 0.2 s")

    await in_own_network(test)


async def test_each_reply_is_told_of_a_vim_that_is_not_settled_or_was_not_reached_before() -> None:
    async def test() -> None:
        async with bench(settled=False) as it:
            await eventually(lambda: len(it.ended) >= 2)
            assert it.reached == 0
            it.rounds.settle("v", settled=True)
            await eventually(lambda: it.reached)
            it.suspicion.forget("v", 0)
            it.rounds.settle("v", settled=True)
            told = len(it.ended)
            await eventually(lambda: len(it.ended) > told)
            it.suspicion.saw("v", True, 0)
            it.rounds.settle("v", settled=True)
            counted = it.reached
            await eventually(lambda: it.reached > counted)
            it.suspicion.saw("v", False, 0)
            told = len(it.ended)
            await eventually(lambda: len(it.ended) > told)
            (*_, outcome) = it.ended
            assert isinstance(outcome, Outcome)
            assert outcome.reason.startswith("ICMP reply in")

    await in_own_network(test)


async def test_a_bug_in_who_is_told_of_one_reply_keeps_none_of_the_others_from_being_told() -> None:
    """Both have come before the first is read."""

    async def test() -> None:
        bugs: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context["exception"]))
        async with bench(settled=False) as it:
            told: list[str] = []

            def tell(vim_id: str, _: Outcome | Exception) -> None:
                told.append(vim_id)
                if vim_id == "v":
                    raise ValueError("a bug")

            it.rounds._ended = tell
            it.rounds.add("w", PROBE)
            await eventually(lambda: {"v", "w"} <= set(told))
            told.clear()
            bugs.clear()
            it.rounds.start("v")
            it.rounds.start("w")
            await eventually(lambda: told)
            assert {"v", "w"} <= set(told)
            assert isinstance(bugs[0], ValueError)

    await in_own_network(test)


@pytest.mark.parametrize(
    ("removed", "told_of", "counted"), [(True, ["v", "other"], {"last"}), (False, ["v", "other", "last"], set())]
)
async def test_what_one_reply_leads_to_holds_for_those_that_were_read_with_it(
    removed: bool, told_of: list[str], counted: set[str]
) -> None:
    """The others are asked after it, and all have replied before the first reply is read."""

    async def test() -> None:
        async with bench(settled=False) as it:
            rounds, told = it.rounds, list[str]()
            for vim_id in ("other", "last"):
                it.suspicion.saw(vim_id, True, 0)
                rounds.add(vim_id, PROBE)
            rounds._wheel.fire = lambda now: ([], [])  # type: ignore[method-assign]

            def tell(vim_id: str, _: Outcome | Exception) -> None:
                told.append(vim_id)
                if vim_id == "v" and removed:
                    rounds.remove("other")
                elif vim_id == "v":  # everybody is in doubt
                    it.suspicion.saw("v", False, 0)

            for vim_id in ("v", "other", "last"):  # whoever is asked for the first time has no address yet
                rounds.start(vim_id)
            await eventually(lambda: not rounds.running)
            it.presence._seen.clear()
            rounds._ended = tell
            for vim_id in ("other", "last"):
                rounds.settle(vim_id, settled=True)
            due: list[Entry] = [rounds._watched[vim_id] for vim_id in ("v", "other", "last")]
            rounds._wheel.fire = lambda now: (due, [0.0] * 3)  # type: ignore[method-assign]
            rounds.begin(alone=False)
            rounds._wheel.fire = lambda now: ([], [])  # type: ignore[method-assign]
            await eventually(lambda: told)
            assert told == told_of
            rounds.tell_counts()
            assert set(it.presence._seen) == counted

    await in_own_network(test)


async def test_what_was_counted_of_a_vim_that_went_is_not_told_later() -> None:
    async def test() -> None:
        async with bench(settled=True) as it:
            await eventually(lambda: it.rounds._seen)
            it.rounds.remove("v")
            it.presence._seen.clear()
            await it.rounds.turn(lambda: None)
            assert not it.presence._seen

    await in_own_network(test)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_replies_of_near_hosts_are_read_in_the_slot_in_which_they_were_asked(host: str) -> None:
    """The loop is not told of them, and nobody's time is over soon."""

    async def test() -> None:
        probe = IcmpProbe(auth_url=f"http://{host}:5000", interval_s=0.1, timeout_s=60)
        async with bench(settled=True, probe=probe) as it:
            await eventually(lambda: it.reached)
            echo = it.rounds._prober._shared.echo
            (current,) = (*echo._current.values(), *echo._current6.values())
            asyncio.get_running_loop().remove_reader(current.socket._socket)
            reached = it.reached
            await eventually(lambda: it.reached > reached + 2)
            assert it.ended == []

    await in_own_network(test)


async def test_what_was_counted_is_told_once_also_when_a_slot_has_a_bug() -> None:
    async def test() -> None:
        async with bench(settled=True) as it:
            rounds, metrics = it.rounds, it.metrics

            def counted() -> tuple[int, int]:
                return sum(metrics._late.spread().counts), sum(metrics._answers["icmp"].spread().counts)

            def bug() -> None:
                raise ValueError("a bug")

            await eventually(lambda: it.reached >= 3)
            rounds._wheel.fire = lambda now: ([], [])  # type: ignore[method-assign]
            await eventually(lambda: not rounds.running)
            rounds.tell_counts()
            before = counted()
            rounds.tell_counts()
            assert counted() == before
            rounds._late_s.append(0.1)
            with pytest.raises(ValueError, match="a bug"):
                await rounds.turn(bug)
            assert counted() == (before[0] + 1, before[1])

    await in_own_network(test)


async def test_where_nobody_is_asked_by_icmp_nothing_is_counted_of_it() -> None:
    async def test() -> None:
        async with bench(settled=True) as it:
            it.rounds.remove("v")
            await it.rounds.turn(lambda: None)
            assert it.metrics.fields(None)["answers"] == b"{}"

    await in_own_network(test)


async def test_one_request_at_a_time_and_none_is_left_of_a_vim_that_went() -> None:
    async def test() -> None:
        set_sysctl(SILENT, 1)
        async with bench(settled=True) as it:
            await eventually(lambda: it.rounds.running)
            for _ in range(3):
                it.rounds.start("v")
                it.rounds.begin(alone=False)
            assert it.rounds._prober.running == 1
            it.rounds.remove("v")
            assert it.rounds._prober.running == 0
            it.rounds.start("v")
            assert not it.rounds.running

    await in_own_network(test)


async def test_a_bug_in_asking_is_told_as_such() -> None:
    async def test() -> None:
        async with bench(settled=True) as it:

            def broken(*_: object) -> None:
                raise ValueError("a bug")

            it.rounds._prober._shared.echo._choose = broken  # type: ignore[method-assign,assignment]
            await eventually(lambda: it.ended)
            assert isinstance(it.ended[0], ValueError)

    await in_own_network(test)


async def test_who_is_asked_at_once_for_another_that_fails_is_asked_once_though_it_is_due_as_well() -> None:
    async def test() -> None:
        async with bench(settled=False) as it:
            rounds, ended = it.rounds, it.ended

            def tell(vim_id: str, outcome: Outcome | Exception) -> None:
                ended.append(outcome)
                if vim_id == "lost":
                    for witness in ("v", "gone", "witness"):
                        rounds.start(witness)

            rounds._ended = tell
            rounds._wheel.fire = lambda now: ([], [])  # type: ignore[method-assign]
            for vim_id, host in (("lost", "192.0.2.1"), ("gone", "192.0.2.2"), ("witness", "127.0.0.9")):
                rounds.add(vim_id, IcmpProbe(auth_url=f"http://{host}", timeout_s=0.2))
            for _ in range(2):  # at first nobody has an address yet
                ended.clear()
                set_sysctl(SILENT, 1)
                due = [rounds._watched[vim_id] for vim_id in ("lost", "v", "gone")]
                rounds._wheel.fire = lambda now, due=due: (due, [0.0] * 3)  # type: ignore[misc,method-assign]
                rounds.begin(alone=False)
                rounds._wheel.fire = lambda now: ([], [])  # type: ignore[method-assign]
                assert [outcome.status for outcome in ended if isinstance(outcome, Outcome)] == [VimStatus.UNKNOWN] * 2
                assert rounds._prober.running == 2
                await eventually(lambda: not rounds.running)
                assert len(ended) == 4
            (current,) = rounds._prober._shared.echo._current.values()
            assert not current.socket.waiting

    await in_own_network(test)


async def test_a_counted_reply_took_as_long_as_its_socket_says_however_late_that_was_told() -> None:
    async def test() -> None:
        async with bench(settled=True) as it:
            await eventually(lambda: it.rounds._seen)
            peer = it.rounds._watched["v"].peer
            assert peer is not None
            peer.rtt_s = 0.007
            it.rounds._replied([peer], peer.sent_at + 5)
            assert it.rounds.counted("v") == "ICMP reply in 7 ms"

    await in_own_network(test)


async def test_how_long_the_last_counted_reply_took_is_told_once_to_who_asks() -> None:
    async def test() -> None:
        async with bench(settled=True) as it:
            assert it.rounds.counted("v") is None
            for _ in range(2):
                before = it.reached
                await eventually(lambda before=before: it.reached > before)  # type: ignore[misc]
                assert fullmatch(r"ICMP reply in \d+ ms", it.rounds.counted("v") or "")
                assert it.rounds.counted("v") is None

    await in_own_network(test)
