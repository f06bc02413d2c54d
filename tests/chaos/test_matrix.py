"""Every row of the fault matrix, in its short form. They run beside one another; a test waits for its row."""

from collections.abc import Iterator

import pytest

from tests.chaos.matrix import NAMES, Run, missing
from tests.chaos.rows import Scale
from tests.support.strict import require

WITHIN_S = 300


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Run]:
    require(missing())
    asked = {item.callspec.params["name"] for item in request.session.items if item.path == request.path}  # type: ignore[attr-defined]
    names = tuple(name for name in NAMES if name in asked)
    run = Run(tmp_path_factory.mktemp("chaos"), Scale(short=True), names)
    yield run
    run.stop()


@pytest.mark.timeout(WITHIN_S)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_stays_broken_after(run: Run, name: str) -> None:
    row, _ = run.rows[name].result(WITHIN_S)
    assert row.holds, row
