"""A part that is asked and may be silent: nobody waits longer than was said, and one thread asks at a time."""

import threading
import time

import pytest
from redis.exceptions import AuthenticationError

from vimmon.conductor.part import Part, Silent
from vimmon.errors import DatabaseUnreachable

SOON_S = 0.05


def test_the_answer_is_given_and_what_was_asked_is_handed_on() -> None:
    part = Part("it", lambda a, *, b: a + b, timeout_s=5)
    assert part.ask(1, b=2) == 3
    assert part.ask(2, b=2) == 4


def test_a_part_that_is_silent_holds_nobody_up_and_costs_one_thread_however_often_it_is_asked() -> None:
    answer, asked = threading.Event(), []

    def question() -> str:
        asked.append(threading.current_thread())
        answer.wait(20)
        return "back"

    part = Part("Redis", question, timeout_s=SOON_S)
    began = time.monotonic()
    with pytest.raises(Silent, match=r"Redis does not answer within 0\.05 s"):
        part.ask()
    for _ in range(5):
        with pytest.raises(Silent, match="has not answered the last question yet"):
            part.ask()
    assert time.monotonic() - began < 5
    assert len(asked) == 1
    answer.set()
    asked[0].join(5)
    assert part.ask() == "back"


def test_two_are_asked_at_once() -> None:
    both = threading.Barrier(2, timeout=5)
    waiting = [Part(name, both.wait, timeout_s=5).begin() for name in ("a", "b")]
    assert {wait() for wait in waiting} == {0, 1}


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (DatabaseUnreachable("the database x:\n refused"), "^the database x: refused$"),
        (AuthenticationError("WRONGPASS"), "^Redis cannot be reached: WRONGPASS$"),
        (ValueError("s3cr3t"), "^it: ValueError; the conductor's log says more$"),
    ],
)
def test_trouble_is_told_in_one_line_and_a_bug_without_its_words(trouble: Exception, said: str) -> None:
    def question() -> None:
        raise trouble

    with pytest.raises(Silent, match=said):
        Part("it", question, timeout_s=5).ask()
