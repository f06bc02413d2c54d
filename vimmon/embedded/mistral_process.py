"""A whole real Mistral (API, engine and executor) in one process: SQLite, no message broker, reachable from here only.

`python -m vimmon.embedded.mistral_process FOLDER PORT` keeps its data in FOLDER and runs until SIGTERM. For newcomers
and tests: it promises neither speed nor that its data survives a crash of the machine.
"""

import argparse
import logging
import os
import signal
import sqlite3
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

STOP_TIMEOUT_S = 3.0
"""How long running services get at the end. Actions are not waited for: a monitor would never end."""

CONFIG = """\
[DEFAULT]
# Messages go from thread to thread. No broker, and so nothing to lose but by the end of this process.
transport_url = fake:/
# The database lets one transaction run at a time: more threads would only wait.
executor_thread_pool_size = 16

[api]
host = 127.0.0.1
port = {port}
# Saves 0.3 s of CPU for each workflow definition of ours, which are generated and ask for none; others are validated.
validation_mode = enabled

[pecan]
auth_enable = false

[database]
connection = sqlite:///{database}?timeout=30
# Safe when this process is killed, and a transaction does not wait for the disk.
sqlite_synchronous = false

[engine]
# A look at every running task, every 20 s, for lost messages: here none is lost, and monitors run for ever.
execution_integrity_check_delay = -1

[action_heartbeat]
# An executor that dies takes its engine with it: nobody would be left to notice.
max_missed_heartbeats = 0

[notifier]
type = local

[cron_trigger]
enabled = false
"""


class Service(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


def prepare(folder: Path, port: int) -> Path:
    """Write the configuration, make the database file, and return the configuration's path."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder.absolute() / "mistral.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute(
            "PRAGMA journal_mode=WAL"
        )  # stays with the file: readers and a writer do not wait for each other
    connection.close()
    config = folder / "mistral.conf"
    config.write_text(CONFIG.format(port=port, database=database))
    return config


def set_up_logging() -> None:
    """Warnings of Mistral's and what the actions say: at INFO, Mistral logs the inputs of actions in clear."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("vimmon").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")  # it is imported, but not used


def start_services(configs: Sequence[Path]) -> list[Service]:
    """Start the API, the engine and the executor in threads of this process; return them in the order to stop them."""
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)  # before anything of Mistral's is imported
    from mistral import config as mistral_config
    from mistral.api import service as api_service
    from mistral.db.v2 import api as db_api
    from mistral.engine import engine_server
    from mistral.executors import executor_server

    mistral_config.parse_args(args=[part for config in configs for part in ("--config-file", str(config))])
    db_api.setup_db()
    api: Service = api_service.WSGIService("mistral_api")
    api.start()  # first: it makes new RPC clients, and the others must share them
    engine: Service = engine_server.get_oslo_service(setup_profiler=False)
    engine.start()
    executor: Service = executor_server.get_oslo_service(setup_profiler=False)
    executor.start()
    return [api, executor, engine]


def stop_services(services: Sequence[Service]) -> None:
    """Ask each to end, and wait no longer than STOP_TIMEOUT_S for all of them together."""

    def stop_all() -> None:
        for service in services:
            service.stop()

    stopper = threading.Thread(target=stop_all, daemon=True)
    stopper.start()
    stopper.join(STOP_TIMEOUT_S)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m vimmon.embedded.mistral_process", description=__doc__)
    parser.add_argument("folder", type=Path, help="where configuration and data live")
    parser.add_argument("port", type=int, help="the API's port on 127.0.0.1")
    parser.add_argument("--config", type=Path, action="append", default=[], help="more configuration; it wins")
    arguments = parser.parse_args(argv)
    # Not a threading.Event: its lock is this thread's own while it begins to wait, and a signal that comes just then
    # would wait for that for ever.
    end, ended = os.pipe()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: os.write(ended, b"."))
    set_up_logging()
    services = start_services([prepare(arguments.folder, arguments.port), *arguments.config])
    os.read(end, 1)
    stop_services(services)
    logging.shutdown()
    os._exit(0)  # Mistral leaves threads behind that an ordinary exit would wait for


if __name__ == "__main__":
    main()
