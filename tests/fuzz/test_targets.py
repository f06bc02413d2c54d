"""Every fuzz target, for a moment: the same examples each time. `make fuzz` goes on for as long as one wants."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import near
from tests.fuzz.seeds import TARGETS
from tests.support.services import redis_missing
from tests.support.strict import require


@pytest.mark.parametrize("name", TARGETS)
def test_the_parser_takes_or_refuses_whatever_comes(name: str) -> None:
    if name == "hashes":
        require(redis_missing())
    target = TARGETS[name]

    @settings(max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(near(target.seeds), st.binary(max_size=200)))
    def run(data: bytes) -> None:
        target.run(data)

    for seed in target.seeds:
        target.run(seed)
    run()
