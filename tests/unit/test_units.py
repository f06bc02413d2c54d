"""The systemd units in deploy/: what they start is there, and may do little."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "systemd" / "vimmon-conductor.service"
EXPOSURE_MAX = 15  # tenths: systemd calls everything up to 2.0 well protected


class Unit(configparser.ConfigParser):
    optionxform = staticmethod(str)  # type: ignore[assignment]  # systemd tells upper from lower case


def unit(file: Path) -> Unit:
    found = Unit(strict=False, interpolation=None, comment_prefixes=("#",), delimiters=("=",))
    found.read_string(file.read_text())
    return found


def test_a_conductor_is_started_as_a_user_of_its_own_that_the_package_s_sysusers_makes() -> None:
    service = unit(UNIT)["Service"]
    assert service["User"] == service["Group"] == "vimmon"
    assert (DEPLOY / "systemd" / "vimmon.sysusers.conf").read_text().splitlines()[-1].startswith("u vimmon ")


def test_it_is_given_the_time_to_leave_that_it_takes() -> None:
    """Ten seconds by its own word; only its supervisor is told, since that tells the others."""
    service = unit(UNIT)["Service"]
    assert int(service["TimeoutStopSec"]) > 10
    assert service["KillMode"] == "mixed"
    assert service["Restart"] == "always"


def test_it_may_write_nowhere_and_has_no_capability() -> None:
    service = unit(UNIT)["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == ""
    assert "ReadWritePaths" not in service
    assert service["NoNewPrivileges"] == "yes"


def test_systemd_finds_nothing_wrong_and_calls_it_well_protected(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / UNIT.name
    copy.write_text(
        UNIT.read_text().replace("/opt/vimmon/bin/vimmon", "/bin/true").replace("/opt/vimmon/bin/python", "/bin/true")
    )
    verified = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False)
    assert (verified.returncode, UNIT.name in verified.stderr) == (0, False), verified.stderr
    command = [analyze, "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(copy)]
    rated = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert rated.returncode == 0, rated.stdout[-300:]
