"""What is replaced: RPC of oslo.messaging over RabbitMQ, whose server makes one SQLAlchemy UPDATE a call.

`python -m benchmarks.bus server URL TOPIC DATABASE_URL` and `python -m benchmarks.bus client URL TOPIC VIMS`. The
client is one process with a thread for each caller, as Mistral's synchronous actions are. Nobody waits for a connection
to the broker: there are enough for all.
"""

import json
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import oslo_messaging
from oslo_config import cfg
from sqlalchemy import Engine, bindparam, create_engine, update

from benchmarks.measure import percentile
from vimmon.registry.database import open_engine
from vimmon.registry.models import VIMS

CONNECTIONS = 300
CONNECTIONS_TO_DATABASE = 15  # as many as SQLAlchemy would make, and none is closed and made anew
THREADS = 64  # oslo.messaging's own default for a server
STATUSES = ("REACHABLE", "UNREACHABLE")
UPDATE = (
    update(VIMS)
    .where(VIMS.c.id == bindparam("vim"), VIMS.c.action_id == bindparam("action"), VIMS.c.deleted_at.is_(None))
    .values(status=bindparam("new"), status_seq=bindparam("seq"))
)


class Endpoint:
    """Compares and writes in one statement; takes one at a time where the database does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else None

    def update_vim(self, context: object, vim_id: str, status: str, action_id: str, seq: int) -> str:
        given = {"vim": vim_id, "action": action_id, "new": status, "seq": seq}
        if self._turn is None:
            return self._write(given, status)
        with self._turn:
            return self._write(given, status)

    def _write(self, given: dict[str, Any], status: str) -> str:
        with self._engine.begin() as connection:
            return status if connection.execute(UPDATE, given).rowcount == 1 else "bad_action"


def transport(url: str) -> Any:
    conf = cfg.CONF  # the library registers options with no other
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(f"[DEFAULT]\nexecutor_thread_pool_size = {THREADS}\n")
        file.write(f"[oslo_messaging_rabbit]\nrpc_conn_pool_size = {CONNECTIONS}\n")
        file.flush()
        conf([], project="vimmon-bench", default_config_files=[file.name])
    return oslo_messaging.get_rpc_transport(conf, url=url.replace("amqp://", "rabbit://", 1))


def serve(url: str, topic: str, database_url: str) -> None:
    lite = database_url.startswith("sqlite")
    engine = (
        open_engine(database_url)
        if lite
        else create_engine(database_url, pool_size=CONNECTIONS_TO_DATABASE, max_overflow=0)
    )
    target = oslo_messaging.Target(topic=topic, server="bench")
    server = oslo_messaging.get_rpc_server(transport(url), target, [Endpoint(engine)], executor="threading")
    server.start()
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.read()


class Clients:
    def __init__(self, url: str, topic: str, vims: list[dict[str, Any]]) -> None:
        target = oslo_messaging.Target(topic=topic)
        self._client = oslo_messaging.get_rpc_client(transport(url), target, timeout=30)
        self._vims = vims
        self._pool = ThreadPoolExecutor(len(vims))
        self.written: dict[str, list[Any]] = {}

    def talk(self, many: int, *, seconds: float) -> dict[str, Any]:
        """The first `many` call, each again when it is answered, for so long."""
        started = time.perf_counter()
        until = started + seconds
        found = [self._pool.submit(self._call, vim, until) for vim in self._vims[:many]]
        each = [one.result() for one in found]
        ordered = sorted(latency for latencies, _ in each for latency in latencies)
        return {
            "calls": len(ordered),
            "seconds": time.perf_counter() - started,
            "p50_ms": percentile(ordered, 0.5) * 1000,
            "p99_ms": percentile(ordered, 0.99) * 1000,
            "wrong": [problem for _, problems in each for problem in problems][:3],
        }

    def _call(self, vim: dict[str, Any], until: float) -> tuple[list[float], list[str]]:
        latencies: list[float] = []
        wrong: list[str] = []
        seq = self.written.get(vim["vim_id"], ["", 0])[1]
        while (now := time.perf_counter()) < until or not latencies:
            seq += 1
            status = STATUSES[seq % 2]
            said = {"vim_id": vim["vim_id"], "status": status, "action_id": vim["action_id"], "seq": seq}
            answer = self._client.call({}, "update_vim", **said)
            latencies.append(time.perf_counter() - now)
            if answer != status:
                wrong.append(f"{said} was answered {answer}")
            self.written[vim["vim_id"]] = [status, seq, None]
        return latencies, wrong


def main() -> None:
    kind, url, topic, last = sys.argv[1:]
    if kind == "server":
        serve(url, topic, last)
        return
    clients = Clients(url, topic, json.loads(Path(last).read_text(encoding="utf-8")))
    for line in sys.stdin:
        order = json.loads(line)
        done = clients.written if order.pop("order") == "tell" else clients.talk(**order)
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
