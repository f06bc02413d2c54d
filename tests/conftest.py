"""For all tests: an environment without the developer's own settings, and a list of what was not run and why."""

import os
from collections import Counter
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.integration.databases", "tests.integration.hosting"]


@pytest.fixture(autouse=True, scope="session")
def _bare_environment() -> Iterator[None]:
    """No `VIMMON_*` or `OS_*` variable of the caller's reaches a test."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in list(os.environ):
            if variable.startswith(("VIMMON_", "OS_")) and not variable.startswith("VIMMON_TEST_"):
                patch.delenv(variable)
        patch.setenv("VIMMON_ENV_FILE", os.devnull)
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()))
    terminalreporter.section("not run", sep="-")
    if not reasons:
        terminalreporter.write_line("nothing: this machine has all that the tests need")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} tests: {reason.removeprefix('Skipped: ')}")
