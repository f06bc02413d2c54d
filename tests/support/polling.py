"""Waits for a condition with a deadline, and never by sleeping blindly."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
STEP_S = 0.01


async def eventually(look: Callable[[], T], *, within_s: float = 20.0) -> T:
    """The first true answer of `look`, or the AssertionError that it raised last, when the time is over."""
    deadline = time.monotonic() + within_s
    while True:
        late = time.monotonic() > deadline
        try:
            if found := look():
                return found
        except AssertionError:
            if late:
                raise
        assert not late, f"not within {within_s} s: {look}"
        await asyncio.sleep(STEP_S)


def until(look: Callable[[], object], *, within_s: float = 20.0) -> None:
    """Waits until `look` says something true, in a test that runs in no event loop."""
    deadline = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {look}"
        time.sleep(0.02)
