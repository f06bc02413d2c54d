"""`python -m tests.chaos.host`: monitors as an executor process runs them, without a Mistral around.

Each line of standard input is an order, in JSON: `watch` with assignments. For rows in which nothing is to be started
again, so that nobody need ask Mistral.
"""

import json
import sys

from vimmon.actions.monitor import parse_assignment
from vimmon.actions.thread import take_on
from vimmon.log import setup_logging


def main() -> None:
    setup_logging()
    print("{}", flush=True)  # ready
    for line in sys.stdin:
        for one in json.loads(line)["watch"]:
            take_on(parse_assignment(one["vim_id"], one["action_id"], one["generation"], one["probe"]))


if __name__ == "__main__":
    main()
