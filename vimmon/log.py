"""How a log line looks: a constant event name, then its fields; INFO for changes only. No line holds a secret.

Plain, it is `name=value` for people; with VIMMON_LOG_FORMAT=json one JSON object a line. The passwords of the settings
are taken out of everything that is written, whoever wrote it, tracebacks of libraries included.
"""

import json
import logging
import math
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote

from vimmon.settings import Settings, environment

PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # of ASCII alone, what needs no quotes
QUOTABLE = re.compile(r"[ -!#-\[\]-~]+")  # and what quotes are put around just as it is
SPECIAL = re.compile(r'[ "=\\]')
HIDDEN = "***"
IN_URL = re.compile(r"(://[^\s/?#@:]*:)[^\s/@]*@")  # a password, also one that the settings do not know
AUTHORITY_END = re.compile(r"[/?#]")
TELLING = re.compile(r"pass|secret|token", re.IGNORECASE)
SHORTEST = 4  # of a password that is looked for anywhere: to take every "a" out of a log would leave none


def without_passwords(text: str) -> str:
    """The same where no URL has one."""
    return IN_URL.sub(rf"\g<1>{HIDDEN}@", text) if "://" in text else text


class Event(str):
    """The text of a log line, which still knows what it was made of."""

    name: str
    fields: Mapping[str, Any]


def event(name: str, **fields: Any) -> Event:
    """What to log. In plain text values with spaces are quoted; None is left out."""
    known = {key: value for key, value in fields.items() if value is not None}
    line = Event(" ".join([name, *(f"{key}={_show(value)}" for key, value in known.items())]))
    line.name, line.fields = name, known
    return line


class Events:
    """Many log lines of one event, written in one go: that costs a fraction of as many records."""

    def __init__(self, name: str, fields: Sequence[str], many: Sequence[Sequence[str]]) -> None:
        """Of each of `many`, the values of these fields."""
        self.name = name
        self.fields = fields
        self.many = many

    def __str__(self) -> str:
        return "\n".join(_lines(self.name, self.fields, self.many))


def setup_logging(settings: Settings | None = None, level: int = logging.INFO) -> None:
    """Sends this process's log to standard error, one line an event, times in UTC: also what nobody has caught."""
    handler = logging.StreamHandler(sys.stderr)
    kind = JsonFormatter if settings is not None and settings.log_format == "json" else PlainFormatter
    handler.setFormatter(kind([] if settings is None else secrets_of(settings, environment())))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("rq").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def secrets_of(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """The passwords that this process knows, the longest first."""
    found = {value for name, value in environ.items() if name.startswith("OS_") and TELLING.search(name)}
    for url in (settings.redis_url.get_secret_value(), settings.database_url.get_secret_value()):
        rest = url.partition("://")[2]  # not urlsplit, which refuses some of several hosts
        found.add(AUTHORITY_END.split(rest, maxsplit=1)[0].rpartition("@")[0].partition(":")[2])
        found |= {value for name, value in parse_qsl(rest.partition("?")[2]) if TELLING.search(name)}
    found |= {unquote(secret) for secret in found}
    found |= {spelled(secret)[1:-1] for secret in found for spelled in (repr, json.dumps)}
    return sorted((secret for secret in found if len(secret) >= SHORTEST), key=len, reverse=True)


class PlainFormatter(logging.Formatter):
    """`2026-11-27T03:12:40.123Z INFO vimmon.conductor conductor_started rpc=1`"""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime
        self._secrets = list(secrets)

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, Events):
            return "\n".join(self.lines(record, record.msg, self.harmless(record.msg.many)))
        if isinstance(record.msg, Event):  # cleaned before quotes are put around a value, and before others in it
            said = event(record.msg.name, **self.fields(record.msg))
            record = logging.makeLogRecord({**record.__dict__, "msg": said})
        return self.clean(super().format(record))

    def lines(self, record: logging.LogRecord, said: Events, many: Sequence[Sequence[str]]) -> Iterable[str]:
        """A line for each of many events."""
        record.message, record.asctime = "", self.formatTime(record, self.datefmt)
        return _lines(self.formatMessage(record) + said.name, said.fields, many)

    def harmless(self, many: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
        """The same without any secret: looked for in all at once, since there is hardly ever one."""
        everything = "\n".join(chain.from_iterable(many))
        if "://" not in everything and not any(secret in everything for secret in self._secrets):
            return many
        return [[*map(self.clean, values)] for values in many]

    def fields(self, said: Event) -> dict[str, Any]:
        """Its fields without any secret; numbers are left as they are."""
        return {
            name: value if isinstance(value, int | float) else self.clean(str(value))
            for name, value in said.fields.items()
        }

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return without_passwords(text)


class JsonFormatter(PlainFormatter):
    """`{"time": …, "level": …, "logger": …, "event": …}` and the event's fields; `message` where it is no event of
    vimmon's, `exception` where there was one."""

    def lines(self, record: logging.LogRecord, said: Events, many: Sequence[Sequence[str]]) -> Iterable[str]:
        head = {**self._head(record), "event": said.name}
        for values in many:
            yield json.dumps({**head, **dict(zip(said.fields, values, strict=True)), **head})

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, Events):
            return super().format(record)
        line = self._head(record)
        if isinstance(record.msg, Event):
            line["event"] = record.msg.name
            line = {**line, **{name: _number_or_text(value) for name, value in self.fields(record.msg).items()}, **line}
        else:
            line["message"] = self.clean(record.getMessage())
        if record.exc_info:
            line["exception"] = self.clean(self.formatException(record.exc_info))
        return json.dumps(line)

    def _head(self, record: logging.LogRecord) -> dict[str, Any]:
        time_ = f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03}Z"
        return {"time": time_, "level": record.levelname, "logger": record.name}


def _uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None:
        _uncaught(found.exc_type, found.exc_value, found.exc_traceback)


def _number_or_text(value: Any) -> Any:
    """JSON has no word for what is not finite."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, Exception):
        logging.getLogger("vimmon").critical(event("uncaught"), exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)


def _lines(head: str, fields: Sequence[str], many: Sequence[Sequence[str]]) -> list[str]:
    form = " ".join([head.replace("%", "%%"), *[f"{field}=%s" for field in fields]])
    return [form % tuple(map(_show_text, values)) for values in many]


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return _show_text(str(value))


@lru_cache(maxsize=4096)  # the same VIMs, statuses and reasons, again and again
def _show_text(text: str) -> str:
    if PLAIN.fullmatch(text):
        return text
    if QUOTABLE.fullmatch(text):
        return f'"{text}"'
    plain = text and text.isprintable() and not SPECIAL.search(text)
    return text if plain else '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'
