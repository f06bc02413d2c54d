"""What an HTTP answer means: for each preset which path to ask, whose body to read, and how to judge an answer."""

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from vimmon.probe_checks import parse_status_codes
from vimmon.probes import HttpPreset, HttpProbe

PLAIN_STATUS = "200-299"
KEYSTONE_DOCUMENTS = {200: "version", 300: "versions"}
KEYSTONE_ANSWERS = frozenset({401, 403})
KUBERNETES_ANSWERS = frozenset({200, 401, 403, 429})


@dataclass(frozen=True)
class Preset:
    """`judge` gives None when this is what was to be reached, else what to say after the status."""

    path: Callable[[str], str]
    reads_body: Callable[[HttpProbe, int], bool]
    judge: Callable[[HttpProbe, int, bytes], str | None]


def judge_keystone(_: HttpProbe, status: int, body: bytes) -> str | None:
    """A Keystone answers with its version document, or refuses who is not logged in."""
    if status in KEYSTONE_ANSWERS:
        return None
    if status in KEYSTONE_DOCUMENTS:
        if _has_document(KEYSTONE_DOCUMENTS[status], body):
            return None
        return ", but not a Keystone version document: the host is reachable, the address is wrong"
    if status == 404:
        return ": the host is reachable, but there is no Keystone at this path"
    return _plainly(status)


def judge_kubernetes(_: HttpProbe, status: int, __: bytes) -> str | None:
    """A Kubernetes API server answers, and does not call itself unready."""
    if status in KUBERNETES_ANSWERS:
        return None
    if status >= 500:
        return ": not ready"
    if status == 404:
        return ": the host is reachable, but there is no Kubernetes API at this address"
    return _plainly(status)


def judge_plain(probe: HttpProbe, status: int, body: bytes) -> str | None:
    """The status is one that is expected, and the expected text is in the beginning of the body."""
    expected = probe.expect_status or PLAIN_STATUS
    if not _is_among(status, expected):
        return f", but {expected} was expected{_plainly(status)}"
    if probe.expect_text is not None and probe.expect_text.encode() not in body:
        return f", but its text lacks {probe.expect_text!r}"
    return None


def _is_among(status: int, codes: str) -> bool:
    return any(status in each for each in parse_status_codes(codes))


def _plainly(status: int) -> str:
    return ", a redirect, which is not followed" if 300 <= status < 400 else ""


def _has_document(name: str, body: bytes) -> bool:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and isinstance(document.get(name), dict | list) and bool(document[name])


PRESETS = {
    HttpPreset.KEYSTONE: Preset(
        path=lambda path: path or "/",
        reads_body=lambda _, status: status in KEYSTONE_DOCUMENTS,
        judge=judge_keystone,
    ),
    HttpPreset.KUBERNETES: Preset(
        path=lambda path: path.rstrip("/") + "/readyz",
        reads_body=lambda *_: False,
        judge=judge_kubernetes,
    ),
    HttpPreset.PLAIN: Preset(
        path=lambda path: path or "/",
        reads_body=lambda probe, status: (
            probe.expect_text is not None and _is_among(status, probe.expect_status or PLAIN_STATUS)
        ),
        judge=judge_plain,
    ),
}
