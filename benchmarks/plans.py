"""How each kind of database finds what it is asked for: the statements of vimmon's own code, and the plans for them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from benchmarks.at_ease import settle_table
from benchmarks.ground import Site, site
from tests.support.services import fresh_mariadb_database, mariadb_missing, postgres_missing
from tests.support.statements import executed
from vimmon.embedded.redis import RedisServer
from vimmon.registry.census import CensusTaker
from vimmon.registry.repair import Repair
from vimmon.registry.reports import Report
from vimmon.registry.store import VimStore
from vimmon.vim import VimStatus

SHOWN = ("SELECT", "UPDATE", "WITH", "DELETE")
WIDTH = 110
ASKED_OFTEN = ("reconciler", "conductor")  # who must never read a whole table
EXPLAIN = {"postgresql": "EXPLAIN (COSTS OFF) ", "mysql": "EXPLAIN ", "sqlite": "EXPLAIN QUERY PLAN "}
WHOLE = {"postgresql": "Seq Scan on", "mysql": " ALL ", "sqlite": "SCAN "}


@contextmanager
def overheard(engine: Engine) -> Iterator[dict[str, list[str]]]:
    """The statements that go to a database, as its driver is told them, each kind once, with the plan for it on the
    connection that it goes by."""
    heard: dict[str, list[str]] = {}

    def note(connection: Connection, statement: str, parameters: Any) -> None:
        if statement.lstrip().upper().startswith(SHOWN) and statement not in heard:
            heard[statement] = plan_of(connection, statement, parameters)

    with executed(engine, note):
        yield heard


def works(place: Site) -> dict[str, Callable[[], object]]:
    """What the parts of vimmon ask a database again and again."""
    vims, repair, ids = VimStore(place.engine), Repair(place.engine), sorted(vim["vim_id"] for vim in place.vims)
    actions = {vim["vim_id"]: vim["action_id"] for vim in place.vims}
    some = ids[1000:1100]
    reports = [Report(vim_id, actions[vim_id], VimStatus.REACHABLE, seq=1, holder="h", reason="why") for vim_id in some]
    return {
        "reconciler: a page": lambda: repair.expected(after=ids[999], until=ids[2999], most=4000),
        "reconciler: the last page": lambda: repair.expected(after=ids[-100], until=None, most=4000),
        "reconciler: a closer look": lambda: repair.glance(some),
        "reconciler: a new generation": lambda: repair.restart(
            ids[0], generation=1, to=2, action_id="another", reason="why", in_vain=True
        ),
        "reconciler: UNKNOWN": lambda: repair.unwatched(ids[1], generation=1, seq=0, reason="why"),
        "conductor: 100 statuses": lambda: vims.record_statuses(reports),
        "job: what is wanted": lambda: vims.wanted(ids[2]),
        "upkeep: to be cleaned": lambda: vims.uncleaned(older_than_s=60),
        "upkeep: old rows": lambda: vims.purge(history_days=90, purge_after_s=900),
        "metrics": lambda: CensusTaker(place.engine).take(some[:3]),
        "vim show": lambda: (vims.get(ids[3]), vims.history(ids[3])),
    }


def plan_of(connection: Connection, statement: str, parameters: Any) -> list[str]:
    """The steps that the database would take; of a statement that is run with several parameters, with the first."""
    kind, first = connection.dialect.name, parameters[0] if isinstance(parameters, list) else parameters
    rows = connection.exec_driver_sql(EXPLAIN[kind] + statement, first).all()
    if kind == "postgresql":
        return [str(row[0]).strip() for row in rows]
    if kind == "sqlite":
        return [str(row[-1]) for row in rows]
    names = ("table", "type", "key", "rows", "Extra")
    return [" ".join(f"{getattr(row, name)}" for name in names if getattr(row, name) is not None) for row in rows]


def reads_all(kind: str, steps: list[str]) -> bool:
    """Whether a whole table is read."""
    whole = [step for step in steps if WHOLE[kind] in step and " USING " not in step]
    return any("VIRTUAL TABLE" not in step and "CONSTANT" not in step for step in whole)  # JSON is a virtual table


def show_plans(server: RedisServer, folder: Path, *, vims: int) -> list[str]:
    """Prints them. Returns what reconciler or conductor ask of a whole table."""
    found = []
    with ExitStack() as stack:
        kinds = ["sqlite", *(["postgresql"] if postgres_missing() is None else [])]
        places = [stack.enter_context(site(f"plans-{kind}", kind, server, folder)) for kind in kinds]
        if mariadb_missing() is None:
            url = stack.enter_context(fresh_mariadb_database())
            places.append(stack.enter_context(site("plans-mariadb", "mariadb", server, folder, url=url)))
        for place in places:
            place.populate(vims, "all")
            settle_table(place)
            for name, work in works(place).items():
                with overheard(place.engine) as statements:
                    work()
                for statement, steps in statements.items():
                    print(f"{place.name[6:]}: {name}: {' '.join(statement.split())[:WIDTH]}")
                    print("".join(f"    {step[:WIDTH]}\n" for step in steps), end="")
                    if name.startswith(ASKED_OFTEN) and reads_all(place.engine.dialect.name, steps):
                        found.append(f"{place.name[6:]}: {name}")
    return found
