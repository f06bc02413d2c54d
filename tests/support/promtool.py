"""Prometheus's own tool, which knows what its rules and its text format must look like."""

import shutil
import subprocess

from tests.support.strict import require


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs it; the test is left out where it is not installed."""
    found = shutil.which("promtool")
    require(None if found else "promtool is not in PATH (Debian, Ubuntu: apt install prometheus)")
    return subprocess.run(
        [found or "", *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
