"""`python -m tests.chaos.nursery N`: keeps N conductors running, and makes another at once when one is killed.

Each is a process that answers requests and does the upkeep, with the code of `vimmon.conductor`; only the supervisor is
another. The product's own takes five seconds over a child that dies again and again, and starting it takes longer than
a matrix of a thousand kills has.
"""

import ctypes
import os
import signal
import sys
import threading

from cotyledon.types import WorkerId

from vimmon.conductor.service import Chores, Rpc
from vimmon.log import setup_logging
from vimmon.settings import load_settings

PR_SET_PDEATHSIG = 1


def main() -> None:
    setup_logging()
    living = {_conductor() for _ in range(int(sys.argv[1]))}
    while living:
        pid, _ = os.wait()
        living.remove(pid)
        living.add(_conductor())


def _conductor() -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == parent:
        settings = load_settings()
        threading.Thread(target=Chores(WorkerId(0), settings).run, daemon=True).start()
        Rpc(WorkerId(0), settings).run()
    os._exit(0)


if __name__ == "__main__":
    main()
