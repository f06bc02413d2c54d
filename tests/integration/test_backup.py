"""What docs/operations.md tells to type brings a database back as it was, on every kind of database."""

import shutil
import subprocess
from pathlib import Path

from sqlalchemy import URL, Engine, text

from tests.integration.databases import registered
from tests.support.strict import require
from vimmon.registry.database import check_schema
from vimmon.registry.migrations import VERSION_TABLE
from vimmon.registry.store import Report, VimStore
from vimmon.vim import VimStatus

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
COMMANDS = {  # those of the document, and what stands in them for what is so here
    "sqlite": ("sqlite3 ", "sqlite3 "),
    "postgresql": ("pg_dump ", "pg_restore "),
    "mariadb": ("mariadb-dump ", "mariadb --host"),
}
PLACES = ("--host db.example.org --username vimmon", "--host db.example.org --user vimmon --password")


def as_documented(kind: str, url: URL) -> list[str]:
    """How to back up, and how to restore, with this database in place of the document's."""
    lines = DOCUMENT.read_text().splitlines()
    backup, restore = COMMANDS[kind]
    found = [next(line for line in lines if line.startswith(backup))]
    found.append(next(line for line in lines if line.startswith(restore) and line != found[0]))
    here = f"--host {url.host} --port {url.port}"
    name = "--username" if kind == "postgresql" else f"--password={url.password or ''} --user"
    for at, command in enumerate(found):
        command = command.replace("/var/lib/vimmon/vimmon.sqlite", str(url.database))
        for place in PLACES:
            command = command.replace(place, f"{here} {name} {url.username}")
        for before, after in (("--dbname ", ""), (" ", " >"), (" ", " <")):
            command = command.replace(f"{before}vimmon{after}", f"{before}{url.database}{after}")
        found[at] = command.removesuffix(" vimmon") + f" {url.database}" if command.endswith(" vimmon") else command
    return found


def run(command: str, folder: Path, url: URL) -> None:
    require(None if shutil.which(command.split()[0]) else f"there is no {command.split()[0]} on the PATH")
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PGPASSWORD": url.password or ""}
    ended = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, ""), command


def everything(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    tables = ("vims", "status_changes", "installation", VERSION_TABLE)
    with engine.connect() as connection:
        rows = {table: connection.execute(text(f"SELECT * FROM {table}")) for table in tables}
        return {table: sorted((tuple(row) for row in found), key=str) for table, found in rows.items()}


def test_a_backup_brings_back_what_was_there_and_nothing_else(engine: Engine, store: VimStore, tmp_path: Path) -> None:
    backup, restore = as_documented(engine.dialect.name.replace("mysql", "mariadb"), engine.url)
    for number in range(3):
        registered(store, f"vim-{number}", name=f"東京 🗼 {number} 'x' \\ ")
    store.record_statuses([Report("vim-1", "vim-1-a1", VimStatus.REACHABLE, 9, "holder", "it's “fine”; \\n")])
    store.deregister("vim-2")
    before = everything(engine)
    run(backup, tmp_path, engine.url)
    store.rename("vim-0", "another")
    store.deregister("vim-1")
    registered(store, "vim-3")
    assert everything(engine) != before
    run(restore, tmp_path, engine.url)
    assert everything(engine) == before
    check_schema(engine)
