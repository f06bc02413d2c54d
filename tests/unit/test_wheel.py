"""When the wheel says that a key is due: on time, once a round, without drift, and not all keys at once."""

import random
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimmon.actions.wheel import Wheel

SLOT_S = 0.05
LATE_SLOTS = 2.1  # slots that a firing may be late: its own, and one when a float lies just below its end
START = 1000.0
PHASE = 0.725142  # of the key below, by blake2b


def wheel(*, seed: int = 1, **settings: float) -> Wheel:
    slots = int(settings.pop("slots", 64))
    return Wheel(rng=random.Random(seed), slots=slots, **settings)


def run(wheel: Wheel, start: float, seconds: float, step: float = SLOT_S) -> dict[str, list[float]]:
    """When each key fired, with the wheel asked every `step`."""
    fired: dict[str, list[float]] = defaultdict(list)
    for i in range(1, round(seconds / step) + 1):
        now = start + i * step
        for key in wheel.due(now):
            fired[key].append(now)
    return fired


intervals = st.floats(min_value=0.2, max_value=20)


@given(interval_s=intervals, jitter=st.floats(0, 0.2), key=st.text(max_size=8), seed=st.integers(), soon=st.booleans())
def test_a_key_fires_once_per_interval_give_or_take_the_jitter(
    interval_s: float, jitter: float, key: str, seed: int, soon: bool
) -> None:
    slot_s = interval_s / 40
    w = wheel(seed=seed, jitter=jitter, slot_s=slot_s)
    w.add(key, interval_s, START, soon=soon)
    times = run(w, START, 12 * interval_s, slot_s)[key][1 if soon else 0 :]
    gaps = [b - a for a, b in pairwise(times)]
    assert len(times) in (10, 11, 12, 13)
    assert all(abs(gap - interval_s) <= 2 * jitter * interval_s + LATE_SLOTS * slot_s for gap in gaps)


@given(interval_s=intervals, seed=st.integers())
def test_a_key_does_not_drift(interval_s: float, seed: int) -> None:
    slot_s = interval_s / 20
    w = wheel(seed=seed, slot_s=slot_s)
    w.add("a", interval_s, START)
    times = run(w, START, 60 * interval_s, slot_s)["a"]
    for i, time in enumerate(times):
        assert time - times[0] == pytest.approx(i * interval_s, abs=2 * 0.05 * interval_s + LATE_SLOTS * slot_s)


@given(interval_s=intervals, seed=st.integers(), step=st.floats(0.01, 3))
def test_the_lag_is_how_late_a_key_fired_and_never_negative(interval_s: float, seed: int, step: float) -> None:
    w = wheel(seed=seed)
    w.add("a", interval_s, START)
    for i in range(1, 50):
        for lag_s in w.due(START + i * step).values():
            assert -1e-6 <= lag_s <= step + 2 * SLOT_S


def test_a_first_round_that_the_jitter_would_have_put_before_now_is_not_late() -> None:
    w = wheel(jitter=0.2)
    for i in range(200):
        w.add(str(i), 10, START)
    for i in range(1, 20):
        assert all(lag_s <= LATE_SLOTS * SLOT_S for lag_s in w.due(START + i * SLOT_S).values())


def test_the_jitter_moves_the_rounds_and_a_jitter_of_zero_does_not() -> None:
    for jitter, distinct in ((0.0, False), (0.05, True)):
        w = wheel(jitter=jitter)
        w.add("a", 10, START)
        times = run(w, START, 200)["a"]
        gaps = {round(b - a, 2) for a, b in pairwise(times)}
        assert (len(gaps) > 3) is distinct


@given(interval_s=intervals, pause_s=st.floats(1, 5000))
def test_after_a_pause_each_key_fires_once_and_then_leaves_room(interval_s: float, pause_s: float) -> None:
    w = wheel()
    keys = [str(i) for i in range(20)]
    for key in keys:
        w.add(key, interval_s, START)
    now = START + 2 * interval_s + pause_s
    assert sorted(w.due(now)) == sorted(keys)
    assert not w.due(now)
    later = run(w, now, 3 * interval_s, interval_s / 10)
    for key in keys:
        assert 2 <= len(later[key]) <= 4
        assert later[key][0] - now >= 0.4 * interval_s


def test_after_a_pause_keys_that_are_on_their_grid_fire_once_as_well() -> None:
    w = wheel()
    w.add("a", 2, START)
    run(w, START, 20)
    assert not w._entries["a"].strays
    assert set(w.due(START + 120)) == {"a"}
    assert len(run(w, START + 120, 20)["a"]) == pytest.approx(10, abs=1)


def test_a_pause_costs_no_more_for_being_long() -> None:
    w = wheel()
    w.add("a", 10, START)
    assert set(w.due(START + 1e10)) == {"a"}  # would go through 200,000,000,000 slots


def test_a_key_that_was_rescheduled_fires_once_after_a_pause_and_not_at_all_once_removed() -> None:
    w = wheel()
    for key in ("a", "b"):
        w.add(key, 2, START)
        w.reschedule(key, 3, START)
        w.reschedule(key, 1, START)
    w.remove("b")
    fired, late_s = w.fire(START + 100)
    assert ([entry.key for entry in fired], len(late_s)) == (["a"], 1)


def test_a_key_that_was_moved_away_and_back_fires_once() -> None:
    w = wheel(jitter=0)
    w.add("a", 2, START)
    for interval_s in (1, 2, 1, 2):
        w.reschedule("a", interval_s, START)
    for i in range(1, 60):
        fired, _ = w.fire(START + i * SLOT_S)
        assert [entry.key for entry in fired] == (["a"] if i in (40,) else [])


def test_an_interval_longer_than_the_wheel_fires_in_its_own_round() -> None:
    w = wheel(slots=8, jitter=0)
    w.add("long", 60, START)
    w.add("short", 1, START)
    fired = run(w, START, 300)
    assert len(fired["long"]) == 5
    assert len(fired["short"]) == pytest.approx(300, abs=1)


def test_slots_of_a_second_serve_as_well() -> None:
    w = wheel(slot_s=1.0, slots=16, jitter=0.1)
    for i in range(100):
        w.add(str(i), 60, START)
    fired = run(w, START, 600, step=1.0)
    assert all(9 <= len(times) <= 11 for times in fired.values())
    assert len(fired) == 100


def test_a_removed_key_never_fires_again() -> None:
    w = wheel()
    w.add("a", 1, START)
    w.add("b", 1, START)
    w.remove("a")
    w.remove("never there")
    assert "a" not in w
    assert "b" in w
    assert len(w) == 1
    assert set(run(w, START, 5)) == {"b"}


def test_rescheduling_counts_from_now() -> None:
    w = wheel()
    w.add("a", 30, START)
    w.reschedule("a", 2, START + 1)
    times = run(w, START + 1, 9)["a"]
    assert times[0] == pytest.approx(START + 3, abs=0.1 + SLOT_S)
    assert len(times) == 4
    w.reschedule("a", 30, START + 10)
    times = run(w, START + 10, 70)["a"]
    assert times[0] == pytest.approx(START + 40, abs=1.5 + SLOT_S)
    assert len(times) == 2


def test_rescheduling_a_removed_key_does_not_bring_it_back() -> None:
    w = wheel()
    w.add("a", 1, START)
    w.remove("a")
    w.reschedule("a", 1, START)
    assert "a" not in w
    assert run(w, START, 5) == {}


def test_adding_a_key_again_replaces_it() -> None:
    w = wheel(jitter=0)
    w.add("a", 1, START)
    w.add("a", 10, START)
    assert len(w) == 1
    assert len(run(w, START, 100)["a"]) == 10


def test_a_key_that_is_added_soon_fires_at_once_and_then_on_its_own_grid() -> None:
    soon, calm = wheel(jitter=0), wheel(jitter=0)
    soon.add("a", 30, START, soon=True)
    calm.add("a", 30, START)
    times = run(soon, START, 100)["a"]
    assert times[0] <= START + 2 * SLOT_S
    assert 15 - SLOT_S <= times[1] - times[0] <= 45 + SLOT_S
    assert set(times[1:]) <= set(run(calm, START, 100)["a"])


def test_some_dozens_of_keys_that_are_added_soon_fire_within_the_next_slots() -> None:
    w = wheel()
    for i in range(40):
        w.add(f"vim-{i:05}", 10, START, soon=True)
    assert len(w.due(START + 0.1)) == 40


def test_thousands_of_keys_that_are_added_soon_do_not_fire_at_once() -> None:
    w = wheel(jitter=0)
    for start in (START, START + 100):
        for i in range(5000):
            w.add(f"vim-{i:05}", 10, start, soon=True)
        fired = run(w, start + SLOT_S / 2, 10)  # amid the slots: where one ends is a matter of rounding
        in_slot = Counter(int((times[0] - start) / SLOT_S) for times in fired.values())
        assert len(fired) == 5000
        assert max(in_slot.values()) <= 2.5 * 5000 * SLOT_S
        assert max(in_slot) <= 1 / SLOT_S + 1


def test_a_key_that_is_added_soon_after_thousands_were_does_not_wait_longer_than_they() -> None:
    w = wheel(jitter=0)
    for i in range(5000):
        w.add(f"vim-{i:05}", 10, START, soon=True)
    w.add("short", 0.3, START, soon=True)
    w.add("calm", 10, START + 1, soon=True)
    fired = run(w, START, 2)
    assert fired["short"][0] <= START + 0.3 + LATE_SLOTS * SLOT_S
    assert START + 1 <= fired["calm"][0] <= START + 1 + LATE_SLOTS * SLOT_S


def spread(fired: dict[str, list[float]], nth: int, interval_s: float) -> Counter[int]:
    """How many keys had their nth firing in each tenth of the interval."""
    return Counter(int((times[nth] % interval_s) / interval_s * 10) for times in fired.values())


@pytest.mark.parametrize("soon", [False, True])
def test_many_keys_added_at_once_spread_evenly_over_their_interval(soon: bool) -> None:
    w = wheel()
    for i in range(2000):
        w.add(f"vim-{i:05}", 10, START, soon=soon)
    counts = spread(run(w, START, 26), 1, 10)
    assert len(counts) == 10
    assert all(140 <= count <= 260 for count in counts.values())


def test_keys_rescheduled_together_do_not_stay_together() -> None:
    w = wheel()
    for i in range(2000):
        w.add(f"vim-{i:05}", 10, START)
        w.reschedule(f"vim-{i:05}", 10, START)
    fired = run(w, START, 200)
    assert max(spread(fired, 0, 10).values()) > 800
    assert all(120 <= count <= 280 for count in spread(fired, 15, 10).values())


def test_keys_that_were_rescheduled_return_to_their_grid_by_small_steps() -> None:
    w = wheel(jitter=0.05)
    for i in range(40):  # of any phase
        w.add(str(i), 10, START)
        w.reschedule(str(i), 10, START)
    step_s = 0.05 * 10
    for times in run(w, START, 200).values():
        gaps = [b - a for a, b in pairwise(times)]
        assert all(abs(gap - 10) <= 3 * step_s + LATE_SLOTS * SLOT_S for gap in gaps)


def test_nothing_stays_of_keys_that_were_moved_or_removed() -> None:
    w = wheel(slots=64)
    for i in range(200):
        w.add(str(i), 2, START)
        w.reschedule(str(i), 3, START)
        if i % 2:
            w.remove(str(i))
    run(w, START, 64 * SLOT_S + 3)
    assert sum(len(slot) for slot in w._slots) == len(w) == 100


def test_a_key_has_the_same_phase_in_every_process() -> None:
    w = wheel(jitter=0)
    w.add("2f6d8d5e-0c5b-4b0e-9d8e-0a4f5d6c7b8a", 100, 0.0)
    assert run(w, 0.0, 100)["2f6d8d5e-0c5b-4b0e-9d8e-0a4f5d6c7b8a"] == [pytest.approx(PHASE * 100, abs=2 * SLOT_S)]


def test_it_says_how_long_to_wait_for_the_next_slot() -> None:
    w = wheel()
    assert w.wait_s(10.01) == pytest.approx(0.04)
    assert 0 < w.wait_s(10.0) <= SLOT_S + 1e-9
