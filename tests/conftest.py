"""For all tests: an environment without the developer's own settings, their order where several processes share them,
and a list of what was not run and why."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import distribution
from tests.support.ports import Ports
from vimmon.embedded import process

ACCEPTANCE = Path(__file__).parent / "acceptance"
WITHIN_S = 300  # a test that stands on real servers; the others have what pyproject.toml says

pytest_plugins = ["tests.integration.databases", "tests.integration.hosting", "tests.integration.securing"]


@pytest.fixture(autouse=True, scope="session")
def _bare_environment() -> Iterator[None]:
    """No `VIMMON_*` or `OS_*` variable of the caller's reaches a test."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in list(os.environ):
            if variable.startswith(("VIMMON_", "OS_")) and not variable.startswith("VIMMON_TEST_"):
                patch.delenv(variable)
        patch.setenv("VIMMON_ENV_FILE", os.devnull)
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Any:
    return distribution.scheduler(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # The time of a test is also that of the stack which is started for it, and those that follow.
        if item.path.is_relative_to(ACCEPTANCE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(WITHIN_S))
    if hasattr(config, "workerinput"):  # in a process of several
        items[:] = distribution.in_order(items)


@pytest.fixture(autouse=True, scope="session")
def _ports_of_its_own() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "PORTS", Ports(process.PORTS))
        yield


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heeded() -> None:
    """Also where the tests were started in the background of a shell: what they start would ignore it as well."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()))
    terminalreporter.section("not run", sep="-")
    if not reasons:
        terminalreporter.write_line("nothing: this machine has all that the tests need")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} tests: {reason.removeprefix('Skipped: ')}")
