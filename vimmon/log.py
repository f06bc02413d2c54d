"""How a log line looks: a constant event name, then its fields as `name=value`; INFO for changes only."""

import logging
import re
import sys
import time
from typing import Any

SPECIAL = re.compile(r'[ "=\\]')


def setup_logging(level: int = logging.INFO) -> None:
    """Sends this process's log to standard error, one line an event, times in UTC."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("rq").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def event(name: str, **fields: Any) -> str:
    """The text of a log line. Values with spaces are quoted; None is left out."""
    return " ".join([name, *(f"{key}={_show(value)}" for key, value in fields.items() if value is not None)])


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    plain = text and text.isprintable() and not SPECIAL.search(text)
    return text if plain else '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'
