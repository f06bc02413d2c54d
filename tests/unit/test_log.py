"""What a log line looks like, plain and as JSON; and that none holds a password, whoever wrote it."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from vimmon.log import Events, JsonFormatter, PlainFormatter, event, secrets_of
from vimmon.settings import Settings

SECRET = 'p"ä ss%w'
ENCODED = "p%22%C3%A4%20ss%25w"
URLS = {
    "redis_url": f"redis+sentinel://u:{ENCODED}-r@h1:1,h2:2/service/0",
    "database_url": f"postgresql://u:{ENCODED}-d@h/db?sslpassword=s3cr3t-key&sslmode=require",
}
OPENSTACK = {"OS_PASSWORD": "0penstack-secret", "OS_USERNAME": "operator", "OS_AUTH_URL": "http://keystone"}


def line(formatter: logging.Formatter, message: object, *arguments: object, error: Exception | None = None) -> str:
    record = logging.LogRecord("vimmon.x", logging.INFO, "", 0, message, arguments, None)
    if error is not None:
        record.exc_info = (type(error), error, None)
    record.created, record.msecs = 1_795_748_000.25, 250
    return formatter.format(record)


def parsed(message: object, *arguments: object, error: Exception | None = None) -> dict[str, Any]:
    text = line(JsonFormatter(), message, *arguments, error=error)
    assert "\n" not in text
    return dict(json.loads(text))


def test_an_event_is_a_name_and_its_fields() -> None:
    assert event("status_changed", vim_id="v", generation=3, reason="no answer within 2 s", none=None, wait_s=0.5) == (
        'status_changed vim_id=v generation=3 reason="no answer within 2 s" wait_s=0.5'
    )


def test_a_value_cannot_pretend_to_be_another_line_or_field() -> None:
    line = event("e", reason='x"\nfake level=ERROR', empty="")
    assert "\n" not in line
    assert line == 'e reason="x\\"\\nfake level=ERROR" empty=""'


def test_a_plain_line_begins_with_its_time_and_level() -> None:
    assert line(PlainFormatter(), event("e", n=1)) == "2026-11-27T02:53:20.250Z INFO vimmon.x e n=1"


def test_a_line_of_json_has_the_fields_of_its_event_as_they_are() -> None:
    said = event("e", vim_id="v", n=3, wait_s=0.5, odd=float("nan"), yes=True, reason='x"\nfake', none=None)
    assert parsed(said) == {
        "time": "2026-11-27T02:53:20.250Z",
        "level": "INFO",
        "logger": "vimmon.x",
        "event": "e",
        "vim_id": "v",
        "n": 3,
        "wait_s": 0.5,
        "odd": "nan",
        "yes": True,
        "reason": 'x"\nfake',
    }


def test_what_others_log_is_a_message_and_an_exception_is_one_value() -> None:
    said = parsed("%s of %d", "one", 2, error=ValueError("two\nlines"))
    assert (said["message"], said["exception"]) == ("one of 2", "ValueError: two\nlines")
    assert "event" not in said


def test_no_field_takes_the_place_of_time_or_level() -> None:
    assert parsed(event("e", level="DEBUG", event="other", time="never"))["level"] == "INFO"
    assert parsed(event("e", event="other"))["event"] == "e"


def test_a_password_is_known_also_of_a_url_with_several_hosts() -> None:
    url = "redis+sentinel://ops:s3cret-r@a:1,[::1]:2/vims/0"
    assert "s3cret-r" in secrets_of(Settings.model_validate(URLS | {"redis_url": url}), {})


@pytest.mark.parametrize("kind", [PlainFormatter, JsonFormatter])
def test_no_line_holds_a_password_however_it_came_there(kind: type[PlainFormatter]) -> None:
    secrets = secrets_of(Settings.model_validate(URLS), OPENSTACK)
    formatter = kind(secrets)
    hidden = [f"{ENCODED}-r", f"{SECRET}-r", f"{ENCODED}-d", f"{SECRET}-d", "s3cr3t-key", "0penstack-secret"]
    for secret in hidden:
        for text in (secret, repr([secret]), json.dumps({"p": secret})):
            error = RuntimeError(f"cannot log in with {text}")
            said = [event("e", error=error), event("e", list=[text]), f"said {text}", f"{secret!r}"]
            written = "".join(line(formatter, one) + line(formatter, "x %s", text, error=error) for one in said)
            for spelling in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]):
                assert spelling not in written
                assert json.dumps(spelling)[1:-1] not in written
            assert "***" in written
    assert "operator" in line(formatter, "operator")


@pytest.mark.parametrize("kind", [PlainFormatter, JsonFormatter])
@pytest.mark.parametrize(
    "last", ["fine", "a\nb", f"said {SECRET}-r", "https://u:pw@h", 'quoted "', "back\\slash", "é", ""]
)
def test_many_events_at_once_are_the_same_lines_as_one_by_one(kind: type[PlainFormatter], last: str) -> None:
    formatter = kind(secrets_of(Settings.model_validate(URLS), OPENSTACK))
    fields, many = ("vim_id", "level", "reason"), [("v", "100 %s", "HTTP 200 in 3 ms"), ("b=c", "x", last)]
    one_by_one = [event("status_changed", **dict(zip(fields, values, strict=True))) for values in many]
    lines = "\n".join(line(formatter, each) for each in one_by_one)
    assert line(formatter, Events("status_changed", fields, many)) == lines
    assert str(Events("status_changed", fields, many)) == "\n".join(one_by_one)


@pytest.mark.parametrize("kind", [PlainFormatter, JsonFormatter])
def test_a_password_in_a_url_is_taken_out_though_nobody_knows_it(kind: type[PlainFormatter]) -> None:
    written = line(kind(), event("e", error="GET https://u:pw@h:1/a and amqp://:x@b")) + line(kind(), "redis://:a@h")
    assert "pw" not in written
    assert "https://u:***@h:1/a and amqp://:***@b" in written
    assert "redis://:***@h" in written
    assert "http://h:80/a@b" in line(kind(), "http://h:80/a@b"), "an @ behind the host is no password's end"


@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_what_nobody_caught_is_a_line_of_the_log_without_passwords(log_format: str) -> None:
    program = f"""
import threading, warnings
from vimmon.log import setup_logging
from vimmon.settings import Settings
setup_logging(Settings(log_format="{log_format}", redis_url="redis://:s3cr3t@h"))
def fail(): raise ValueError("with s3cr3t")
warnings.warn("of s3cr3t")
thread = threading.Thread(target=fail); thread.start(); thread.join()
fail()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "s3cr3t" not in ended.stderr.replace("raise ValueError", "")
    assert ended.stderr.count("uncaught") == 2
    if log_format == "json":
        lines = [json.loads(one) for one in ended.stderr.splitlines()]
        assert [one.get("event") for one in lines] == [None, "uncaught", "uncaught"]
        assert lines[1]["exception"].endswith("ValueError: with ***")
