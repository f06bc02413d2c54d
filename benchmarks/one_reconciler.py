"""`python -m benchmarks.one_reconciler REDIS_URL DATABASE_URL PREFIX`: a reconciler that makes a pass when told to.

Each line in is a pass; each line out says what it took, as JSON.
"""

import json
import sys
import time

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own

from vimmon.conductor.plan import Plan
from vimmon.conductor.reconcile import Reconciler
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.lease.store import LeaseStore
from vimmon.mistral.queue import JobQueue
from vimmon.registry.database import open_engine
from vimmon.registry.repair import Repair
from vimmon.settings import Settings


def main(redis_url: str, database_url: str, prefix: str) -> None:
    given = {"redis_url": redis_url, "database_url": database_url, "prefix": prefix}
    settings = Settings.model_validate(given)
    redis = connect(settings)
    reconciler = Reconciler(
        redis=redis,
        leases=LeaseStore(redis, Keys(prefix), ttl_s=settings.lease_ttl_s),
        jobs=JobQueue(redis, name=prefix),
        repair=Repair(open_engine(database_url)),
        settings=settings,
        name="bench",
        clock=time.monotonic,
    )
    me = psutil.Process()
    idle = me.memory_info().rss
    for _ in sys.stdin:
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        found = reconciler.run_once()
        took = {"cpu_s": time.process_time() - cpu_s, "wall_s": time.perf_counter() - wall_s}
        more_mib = (me.memory_info().rss - idle) / 1024 / 1024
        print(json.dumps({**took, "more_mib": more_mib, "nothing": found == Plan(holding=True)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
