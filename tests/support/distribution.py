"""Which tests run one after the other in the same process, and which begin first, where several processes share them.

Those of a file stay together, so that what a file starts is started once. Two things differ from that. The stacks of
the acceptance tests serve several files: whatever stands on a stack of the same kind stays together. And where each
test starts all that it needs, each goes by itself.
"""

import re
from collections.abc import Sequence
from typing import Any

import pytest

ON_A_STACK = re.compile(r"tests/acceptance/.*\[(?:.*-)?(one-process|three-process)\]")
APART = ("tests/acceptance/test_demo.py", "tests/acceptance/test_up.py")
FIRST = (
    "tests/chaos/test_matrix.py",  # it mostly waits: the others shall run beside it
    "one-process",
    "three-process",
    "tests/acceptance/test_tacker.py",
    "tests/acceptance/test_keystone.py",
)
"""What takes longest, and would be waited for at the end. The others follow in the order of their files."""


def together(nodeid: str) -> str:
    """The same for all tests that belong to the same process."""
    if stack := ON_A_STACK.fullmatch(nodeid):
        return stack[1]
    file = nodeid.partition("::")[0]
    return nodeid if file in APART else file


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """As they are to begin."""
    place = {unit: number for number, unit in enumerate(FIRST)}
    return sorted(items, key=lambda item: place.get(together(item.nodeid), len(place)))


def scheduler(config: pytest.Config, log: object) -> Any:
    """What pytest-xdist asks which test goes where."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # has no type hints

    class Together(LoadScopeScheduling):  # type: ignore[misc]  # as above
        def _split_scope(self, nodeid: str) -> str:
            return together(nodeid)

    return Together(config, log)
