"""`python -m tests.support.changer VIM URL`: changes the VIM's auth_url once for each line of its standard input.

Each time it prints what became of that: `accepted`, or `refused` where another was quicker. For tests of two servers
that change the same VIM at once, each in a process of its own.
"""

import sys

from vimmon import Registry
from vimmon.errors import VimChanged


def main() -> None:
    vim, url = sys.argv[1:]
    registry = Registry.from_settings()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for number, _ in enumerate(sys.stdin):
        try:
            registry.update(vim, auth_url=f"{url}/{number}")
            outcome = "accepted"
        except VimChanged:
            outcome = "refused"
        sys.stdout.write(f"{outcome}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
