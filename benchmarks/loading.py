"""`make bench-loading`: the CPU seconds that a process pays for the action, and what that loads.

Mistral's API, engine and executor load the action; what watching needs is loaded where one runs. mistral_lib is there
already: so a Python that does nothing, and one that only loads mistral_lib, stand beside it. The targets are for what
Mistral loads; what a first action pays has none. Exit code 1 when a target is missed or something heavy is loaded.
"""

import argparse
import statistics
import subprocess
import sys

from benchmarks.measure import cpu_of_program
from benchmarks.table import Goal, conclude, console, figure_of, machine, show

ACTION = "import vimmon.actions.action, vimmon.actions.thread"
IMPORT = "import vimmon.actions"
CASES = {
    "python, nothing loaded": "pass",
    IMPORT: IMPORT,
    "mistral_lib.actions": "import mistral_lib.actions",
    "the action": "import vimmon.actions.action",
    "the action, and all that watching needs": ACTION,
}
HEAVY = {"sqlalchemy", "alembic", "rq", "mistralclient", "keystoneauth1", "mistral"}
TARGET_S = 0.4


def heavy() -> list[str]:
    """What the action loads of what an executor must not need."""
    look = f"{ACTION}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    said = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    return sorted(HEAVY & set(said.stdout.split()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often everything is measured (default 7)")
    parser.add_argument("--short", action="store_true", help="two rounds: a try")
    given = parser.parse_args()
    console().print(machine(("mistral-lib", "pydantic", "aiohttp", "redis")))
    found: dict[str, list[float]] = {what: [] for what in CASES}
    for _ in range(2 if given.short else given.rounds):
        for what, program in CASES.items():
            found[what].append(cpu_of_program("-c", program))
    middle = {what: statistics.median(seconds) for what, seconds in found.items()}
    show("What loading costs", ("", "CPU s"), [(what, figure_of(seconds)) for what, seconds in middle.items()])
    loaded = heavy()
    console().print(f"heavy packages loaded: {', '.join(loaded) or 'none'}")
    goals = [
        Goal("import vimmon.actions, from the start of Python", middle[IMPORT], TARGET_S, " s", at_most=True),
        Goal("the action, from the start of Python", middle["the action"], TARGET_S, " s", at_most=True),
        Goal("heavy packages loaded", len(loaded), 0, at_most=True),
    ]
    return conclude(goals)


if __name__ == "__main__":
    sys.exit(main())
