"""What the documents tell a reader to type does what they say, on a `vimmon up` of its own."""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.console import Command, Shell, commands
from tests.support.services import redis_missing
from tests.support.strict import require
from tests.support.up import Up, running
from vimmon.embedded.process import free_port
from vimmon.embedded.redis import find_redis_cli

pytestmark = pytest.mark.timeout(300)  # dozens of commands, one after the other

ROOT = Path(__file__).parents[2]
EXAMPLE = "http://127.0.0.1:9"  # nobody listens there
BESIDE = "http,interval_s=1,confirm_interval_s=0.2"

# Lines of README that other tests run, or that need what is only elsewhere.
NOT_HERE = {
    "make demo": "tests/acceptance/test_demo.py",
    "make test": "this run",
    "pip install": "the Makefile, for [demo]; the Dockerfile, for [conductor]",
    "vimmon up": "the fixture of this file",
    "/path/to/mistral/bin/pip install .": "the Dockerfile, and then pip check",
    "python -m vimmon.conductor": "tests/integration/test_conductor.py",
    "VIMMON_": "settings",
    "export VIMMON_": "settings of a Mistral elsewhere",
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    require(redis_missing() or (None if find_redis_cli() else "there is no redis-cli on the PATH"))
    home = tmp_path_factory.mktemp("home")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with running({"PATH": path, "HOME": str(home), "VIMMON_EXECUTOR_NAME": "mistral-1"}) as running_up:
        yield running_up


@pytest.fixture
def shell(up: Up, tmp_path: Path) -> Iterator[Shell]:
    env = {name: value for name, value in up.env.items() if name != "VIMMON_ENV_FILE"}
    with Shell(env, tmp_path) as shell:
        yield shell
    registry = up.registry()  # not by commands: each takes a second to begin
    for vim in registry.list():
        registry.deregister(vim.id)


def test_getting_started_does_what_it_says(shell: Shell) -> None:
    for command in commands(ROOT / "docs/getting-started.md", {"18000": str(free_port())}):
        shell.follow(command)


def test_each_look_at_leases_shows_what_it_says(up: Up, shell: Shell) -> None:
    home = watched(up)
    gone = up.vimmon("vim", "register", "gone", "--auth-url", EXAMPLE, "--type", "generic")
    up.vimmon("vim", "deregister", "gone")
    places = {
        "VIMMON_REDIS_URL": up.places["redis"],
        "VIM": home["id"],
        "GONE": gone["id"],
        "EXECUTOR": home["executor"],
    }
    for name, value in places.items():
        shell.follow(Command(f"export {name}={shlex.quote(value)}", ""))
    for command in commands(ROOT / "docs/leases.md"):
        shell.follow(command)
    assert up.vimmon("vim", "show", "home")["status"] == "REACHABLE"  # what was tried in another's name had no effect


def watched(up: Up) -> dict[str, str]:
    """A VIM of generation 3 that is REACHABLE: Redis itself is one that accepts connections."""
    address = f"http://{up.places['redis'].removeprefix('redis://').partition('/')[0]}"
    up.vimmon("vim", "register", "home", "--auth-url", address, "--type", "generic", "--probe", "interval_s=2")
    for interval in (3, 1):
        up.vimmon("vim", "update", "home", "--probe", f"interval_s={interval}")
    with Shell(up.env, Path("/")) as shell:
        shell.follow(Command("vimmon vim list --status REACHABLE", "NAME …\nhome REACHABLE …   3 …"))
    return dict(up.vimmon("vim", "show", "home"))


def test_the_readme_tells_nothing_that_fails(up: Up, shell: Shell) -> None:
    places = {"VIMMON_REDIS_URL": up.places["redis"], "VIMMON_ENV_FILE": up.places["env_file"]}
    for name, value in places.items():
        shell.follow(Command(f"export {name}={shlex.quote(value)}", ""))
    followed = [line for line in readme_lines() if not line.startswith(tuple(NOT_HERE))]
    assert len(followed) > 10
    for line in followed:
        shell.follow(Command(re.sub(r"<[^>]*>", "some-id", line), ""))


def readme_lines() -> list[str]:
    """Its commands: the lines of its blocks that begin with a program or a setting, without indentation."""
    blocks = re.findall(r"^ *```\n(.*?)^ *```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [
        line
        for line in lines
        if re.match(r"(vimmon (?!vim \.\.\.)|make |pip |python |redis-cli |export |VIMMON_|/path/to)", line)
    ]
