"""The tables of executors and conductors on the status page. No I/O."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from vimmon.conductor.board_time import lasting
from vimmon.conductor.html import Html, tag
from vimmon.conductor.reading import Reading
from vimmon.telling import short_executor

EXECUTORS_SHOWN = 100


def parts_of(reading: Reading | None) -> Iterator[Html]:
    if reading is None:
        return
    yield tag("h2", f"Executors: {len(reading.executors):,}", id="executors")
    if reading.executors:
        yield _table(
            "The executors that live",
            ("Executor", "State", "#VIMs", "#Probes running", "#Waiting", "#Oldest check", "Runs for", "Version"),
            list(_executors(reading))[:EXECUTORS_SHOWN],
        )
    yield tag("h2", f"Conductors: {len(reading.conductors):,}", id="conductors")
    if reading.conductors:
        rows = [
            (tag("bdi", short_executor(name)), tag("bdi", one.version))
            for name, one in sorted(reading.conductors.items())
        ]
        yield _table("The conductors that answer actions", ("Conductor", "Version"), rows)


def _executors(reading: Reading) -> Iterator[Sequence[object]]:
    """Those in trouble first."""
    for name, one in sorted(reading.executors.items(), key=lambda item: (not item[1].degraded, item[0])):
        oldest, started = one.metrics.oldest_check_s, _moment(one.started_s)
        yield (
            tag("bdi", short_executor(name), title=name),
            tag("span", "✕ suspects itself", class_="mark bad")
            if one.degraded
            else tag("span", "✓ well", class_="mark good"),
            f"{one.monitors:,}",
            f"{one.metrics.running:,}",
            f"{one.metrics.waiting:,}",
            "–" if oldest is None else f"{oldest:.0f} s",
            Html("–") if started is None else lasting(started),
            tag("bdi", one.version),
        )


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """A column whose name begins with # is one of numbers."""
    numbers = [column.startswith("#") for column in columns]
    heads = [
        tag("th", column.lstrip("#"), scope="col", class_="number" if number else None)
        for column, number in zip(columns, numbers, strict=True)
    ]
    body = [
        tag(
            "tr",
            *(tag("td", cell, class_="number" if number else None) for cell, number in zip(row, numbers, strict=True)),
        )
        for row in rows
    ]
    table = tag(
        "table",
        tag("caption", caption, class_="aside"),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *body),
        class_="parts",
    )
    return tag("div", table, class_="wide", tabindex="0", role="region", aria_label=caption)


def _moment(seconds: float) -> datetime | None:
    """A time that an executor wrote; None for what cannot be one."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (OverflowError, OSError, ValueError):
        return None
