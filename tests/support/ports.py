"""The free ports that one test process takes: no other test process takes them, and none is taken twice.

A port is free until somebody listens there; until then another could be given the same one.
"""

import itertools
import os
import secrets

PROCESSES = 8  # as many at most have ports of their own


class Ports:
    """Stands in for the range of ports that `free_port` chooses from."""

    def __init__(self, ports: range) -> None:
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        self.start, self.stop = ports.start, ports.stop
        self._ports = ports[number % PROCESSES :: PROCESSES]
        self._turns = itertools.count(secrets.randbelow(len(self._ports)))

    def __len__(self) -> int:
        return len(self._ports)

    def __getitem__(self, _: int) -> int:
        """The next one, whichever was asked for."""
        return self._ports[next(self._turns) % len(self._ports)]
