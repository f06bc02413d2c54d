"""How times and names are told to people, on a terminal and on the status page alike."""

from datetime import datetime


def duration(since: datetime, now: datetime) -> str:
    """How long ago, in the two largest units: 40s, 2h14m, 3d4h. A clock that lags makes it 0s, never less."""
    seconds = max(0, int((now - since).total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds % 60:02}s" if minutes else f"{seconds}s"


def short_executor(executor: str | None) -> str:
    """An executor's name and process, without the random part that only a key needs."""
    return "-" if executor is None else "-".join(executor.rpartition(":")[0].split(":"))
