"""What a missing service means for a test: it is left out, with the reason; under `VIMMON_TEST_STRICT=1` it fails."""

import os

import pytest

STRICT = os.environ.get("VIMMON_TEST_STRICT", "") not in ("", "0")


def require(missing: str | None) -> None:
    """Goes on where `missing` is None; else leaves the test out for that reason, or fails it."""
    if missing is None:
        return
    if STRICT:
        pytest.fail(f"VIMMON_TEST_STRICT: {missing}", pytrace=False)
    pytest.skip(missing)
