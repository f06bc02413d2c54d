"""What an executor loads: nothing that it does not need, since it is somebody else's process."""

import subprocess
import sys

LOOK = """
import sys
import vimmon.actions.action, vimmon.actions.thread
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
HEAVY = {"sqlalchemy", "rq", "mistralclient", "mistral", "alembic", "typer", "rich", "cotyledon", "psycopg", "pymysql"}
HEAVY |= {"prometheus_client"}


def test_the_action_loads_nothing_of_the_conductor() -> None:
    loaded = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=60)
    names = set(loaded.stdout.split())
    assert {"vimmon", "redis", "mistral_lib"} <= names
    assert not names & HEAVY


def test_neither_the_registry_nor_the_conductor_is_loaded() -> None:
    look = LOOK.replace('partition(".")[0]', "strip()")
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    parts = {name.split(".")[1] for name in loaded.stdout.split() if name.startswith("vimmon.")}
    assert not parts & {"registry", "conductor", "mistral", "cli", "embedded"}


def test_a_command_loads_no_more_than_it_needs() -> None:
    """What takes longest to load; `vimmon --help` and Tab wait for it too."""
    look = LOOK.replace("vimmon.actions.action, vimmon.actions.thread", "vimmon.cli.app")
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    names = set(loaded.stdout.split())
    assert "typer" in names
    assert not names & (HEAVY - {"typer", "rich"} | {"redis", "keystoneauth1", "aiohttp", "yaml"})
    look = look.replace("vimmon.cli.app", "vimmon.cli.tools")
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert not set(loaded.stdout.split()) & {"alembic", "rq", "mistralclient", "keystoneauth1"}


def test_where_no_action_runs_nothing_is_loaded_that_only_watching_needs() -> None:
    """As in Mistral's API and engine, which load all actions."""
    look = LOOK.replace(", vimmon.actions.thread", "")
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert not set(loaded.stdout.split()) & {"redis", "aiohttp", "pydantic", "hiredis"}


def test_a_conductor_loads_no_more_than_all_conductors_need() -> None:
    """Each of its processes takes memory for what the supervisor has loaded. Keystone's libraries are for who follows
    Tacker, pages for who serves them, and nobody needs SQLAlchemy's mapper."""
    look = LOOK.replace("vimmon.actions.action, vimmon.actions.thread", "vimmon.conductor.__main__")
    look = look.replace('.partition(".")[0]', "")
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    names = set(loaded.stdout.split())
    assert {"vimmon.conductor.service", "sqlalchemy"} <= names
    rare = {"sqlalchemy.orm", "alembic", "keystoneauth1", "mistralclient", "prometheus_client"}
    assert not names & (rare | {"vimmon.conductor.pages"})
