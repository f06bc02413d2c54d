"""`python -m tests.chaos`: runs the fault matrix and prints it. Exit code 1 when a row does not hold, 3 when it cannot.

The full form has vimmon's own times and takes about an hour; `--short` has a tenth of them, and takes minutes.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.matrix import NAMES, Run, missing
from tests.chaos.rows import Row, Scale

WIDTH = 160  # in a file or a pipe
COLUMNS = ("fault", "what was done", "heals in s", "lost", "stale writes", "restarts", "holds")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a tenth of all times, 20 kills instead of 1,000")
    parser.add_argument("--only", metavar="NAME", action="append", choices=NAMES, help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--seed", type=int, default=7, help="of what is random (default 7)")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="where to keep the logs of all processes")
    given = parser.parse_args()
    if why := missing():
        sys.stderr.write(f"error: {why}\n")
        return 3
    folder = (given.keep or Path(tempfile.mkdtemp(prefix="vimmon-chaos-"))).absolute()
    run = Run(folder, Scale(short=given.short, seed=given.seed), tuple(given.only or NAMES))
    console, rows = Console(width=None if sys.stdout.isatty() else WIDTH), []
    try:
        for name, row, took_s in run.results():
            console.print(f"{name}: {'holds' if row.holds else 'DOES NOT HOLD'} ({took_s:.0f} s)", highlight=False)
            rows.append(row)
    finally:
        run.stop()
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    console.print(_table(rows))
    return 0 if all(row.holds for row in rows) else 1


def _table(rows: list[Row]) -> Table:
    table = Table(*COLUMNS, show_lines=True)
    for row in rows:
        heal = "-" if row.heal_s is None else f"{row.heal_s:.1f}"
        holds = "yes" if row.holds else "NO: " + "; ".join(row.why)
        table.add_row(row.fault, row.done, heal, str(row.lost), str(row.stale), str(row.restarts), holds)
    return table


if __name__ == "__main__":
    sys.exit(main())
