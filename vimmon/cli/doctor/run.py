"""Asks one check after the other. None of them ends the doctor: what goes wrong with one is what it found."""

from collections.abc import Sequence

from redis.exceptions import NoPermissionError, RedisError

from vimmon.cli.doctor.finding import Check, Finding, Found, State, unknown
from vimmon.cli.doctor.parts import Parts
from vimmon.errors import Unreachable, VimmonError
from vimmon.redis_url import redis_unreachable

WRITTEN_BY_ALL = "Ask as a user who may: vimmon-operator reads all that is vimmon's (vimmon acl operator)"


def diagnose(parts: Parts, checks: Sequence[Check]) -> list[Finding]:
    """One finding for each check."""
    passed: set[str] = set()
    findings = []
    for check in checks:
        missing = [need.name for need in check.needs if need.name not in passed]
        found = unknown(f"not asked, because of: {', '.join(missing)}") if missing else _ask(check, parts)
        if not missing and (found.state not in (State.AWAY, State.WRONG)):
            passed.add(check.name)
        findings.append(Finding(check=check.name, state=found.state, found=_line(found.text), remedy=found.remedy))
    return findings


def _ask(check: Check, parts: Parts) -> Found:
    try:
        return check.ask(parts)
    except NoPermissionError as refusal:
        return unknown(f"this user of Redis may not ask: {refusal}", WRITTEN_BY_ALL)
    except RedisError as trouble:
        error = redis_unreachable(trouble)
        return Found(State.AWAY, str(error), error.remedy)
    except Unreachable as trouble:
        return Found(State.AWAY, str(trouble), trouble.remedy)
    except VimmonError as trouble:
        return Found(State.WRONG, str(trouble), trouble.remedy)
    except Exception as bug:  # noqa: BLE001  # the other checks are still worth while
        return unknown(f"the check itself failed: {type(bug).__name__}: {bug}", "Please report this as a bug")


def _line(text: str) -> str:
    return " ".join(text.split())
