"""What acceptance tests look at: each kind of stack is started once, and left by each test as it was found."""

from collections.abc import Iterator

import pytest

from tests.acceptance.stack import KINDS, Stack, running
from tests.support.endpoints import Endpoint


@pytest.fixture(scope="session", params=KINDS)
def whole_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as stack:
        yield stack


@pytest.fixture
def stack(whole_stack: Stack) -> Iterator[Stack]:
    """A stack of each kind, in which nothing is registered."""
    yield whole_stack
    whole_stack.clear()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """What a VIM's auth_url can point to."""
    with Endpoint() as endpoint:
        yield endpoint
