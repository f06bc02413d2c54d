"""Prometheus's own tool, which knows what its rules and its text format must look like."""

import shutil
import subprocess

import pytest


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs it; the test is left out where it is not installed."""
    found = shutil.which("promtool")
    if found is None:  # a tool and no service: also where nothing may be missing
        pytest.skip("promtool is not in PATH (Debian, Ubuntu: apt install prometheus)")
    return subprocess.run([found, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False)
