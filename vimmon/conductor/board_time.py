"""Times on the status page. How long ago something was is written last, by `written`, and until then stands for itself:
so two pages that differ in nothing else are the same. No I/O."""

import re
from datetime import UTC, datetime

from vimmon.conductor.html import Html, tag
from vimmon.telling import duration

OPEN, CLOSE = "\ue000", "\ue001"  # of no use to anybody else: `html.shown` lets no such character through
LEFT = re.compile(f"{OPEN}([0-9]+|now|clock){CLOSE}")


def lasting(since: datetime) -> Html:
    """For how long by now."""
    return _time(since, f"{OPEN}{_seconds(since)}{CLOSE}")


def ago(at: datetime | None) -> Html:
    return Html("–") if at is None else _time(at, f"{OPEN}{_seconds(at)}{CLOSE} ago")


def as_of() -> Html:
    """When the page was true."""
    return tag("time", Html(f"{OPEN}clock{CLOSE}"), datetime=Html(f"{OPEN}now{CLOSE}"), id="as-of")


def written(text: str, now: datetime) -> str:
    """With all times as they are now."""
    fixed = {"now": rfc3339(now), "clock": now.astimezone(UTC).strftime("%H:%M:%S UTC")}
    return LEFT.sub(
        lambda found: fixed.get(found[1]) or duration(datetime.fromtimestamp(int(found[1]), UTC), now), text
    )


def rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(at: datetime, text: str) -> Html:
    # The text is trusted: it has marks in it that nobody else may write.
    return tag("time", Html(text), datetime=rfc3339(at))


def _seconds(at: datetime) -> int:
    return max(0, int(at.timestamp()))
