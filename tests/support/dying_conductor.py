"""A conductor that kills itself with SIGKILL between two of its steps: `python -m tests.support.dying_conductor`.

Its steps are every command it sends to Redis, every statement it sends to the database, and every commit. For each line
`N before` or `N after` on standard input one is forked, that dies before or after its N-th step; what became of it is
printed: `killed`, or `survived` when it had fewer steps, and no request waits any more.
"""

import os
import signal
import sys
from typing import Any

from redis import Redis
from sqlalchemy import event

from tests.integration.bench import Bench
from tests.support.statements import executed
from vimmon.lease.commands import Commands
from vimmon.registry.database import open_engine
from vimmon.settings import load_settings


class Steps:
    def __init__(self, fatal: int, side: str) -> None:
        self.fatal = fatal
        self.side = side
        self.count = 0

    def begin(self) -> None:
        self.count += 1
        self._die_if("before")

    def end(self) -> None:
        self._die_if("after")

    def _die_if(self, side: str) -> None:
        if self.count == self.fatal and self.side == side:
            os.kill(os.getpid(), signal.SIGKILL)


def count_redis(steps: Steps) -> None:
    for owner, name in ((Redis, "execute_command"), (Commands, "run")):
        original = getattr(owner, name)

        def stepped(self: Any, *args: Any, original: Any = original, **kwargs: Any) -> Any:
            steps.begin()
            result = original(self, *args, **kwargs)
            steps.end()
            return result

        setattr(owner, name, stepped)


def count_database(engine: Any, steps: Steps) -> None:
    event.listen(engine, "commit", lambda *_: steps.begin())


def main() -> None:
    for line in sys.stdin:
        step, side = line.split()
        pid = os.fork()
        if pid == 0:
            serve(Steps(int(step), side))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else "survived" if status == 0 else f"failed with {status}", flush=True)


def serve(steps: Steps) -> None:
    settings = load_settings()
    engine = open_engine(settings.database_url.get_secret_value())
    bench = Bench(Redis.from_url(settings.redis_url.get_secret_value()), engine)
    count_redis(steps)
    count_database(engine, steps)
    with executed(engine, lambda *_: steps.begin(), lambda *_: steps.end()):
        while bench.server.serve_once(block_s=0.2):
            pass


if __name__ == "__main__":
    main()
