"""The hot path: a batch of status reports, one transaction, a constant number of statements."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, String, cast, func, insert, select, text, true

from tests.integration.databases import registered
from tests.support.statements import executed
from vimmon.errors import BatchFailed
from vimmon.registry import at_once, recording
from vimmon.registry.database import open_engine, upgrade
from vimmon.registry.models import STATUS_CHANGES, VIMS, utc_now
from vimmon.registry.store import Recorded, RecordVerdict, Report, RowState, VimStore
from vimmon.vim import VimStatus

R, U = VimStatus.REACHABLE, VimStatus.UNREACHABLE
GOOD = Report("vim-1", "vim-1-a1", R, 5, "holder", "HTTP 300 in 31 ms")


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        tables = [connection.execute(select(table).order_by(table.c.id)).all() for table in (VIMS, STATUS_CHANGES)]
    return [tuple(row) for table in tables for row in table]


def verdicts(recorded: Sequence[Recorded]) -> list[RecordVerdict]:
    return [one.verdict for one in recorded]


def test_a_report_is_written_with_its_reason_and_its_change(store: VimStore) -> None:
    before = registered(store)
    [recorded] = store.record_statuses([GOOD])
    assert recorded == Recorded(RecordVerdict.APPLIED, RowState(1, "vim-1-a1", R, 5, "holder"), VimStatus.PENDING)
    vim = store.get("vim-1")
    assert (vim.status, vim.reason, vim.generation) == (R, "HTTP 300 in 31 ms", 1)
    assert vim.status_since == vim.updated_at >= before.updated_at
    [change] = store.history("vim-1")
    assert (change.old, change.new, change.reason, change.at) == (VimStatus.PENDING, R, vim.reason, vim.status_since)
    assert (change.seq, change.generation, change.action_id) == (5, 1, "vim-1-a1")


@pytest.mark.parametrize("none", [None, ""])
def test_the_same_status_again_is_no_change_and_no_reason_is_none(store: VimStore, none: str | None) -> None:
    registered(store)
    store.record_statuses([GOOD])
    before = store.get("vim-1")
    assert verdicts(store.record_statuses([replace(GOOD, seq=None, reason=none)])) == [RecordVerdict.APPLIED]
    vim = store.get("vim-1")
    assert (vim.status_since, vim.reason) == (before.status_since, None)
    assert len(store.history("vim-1")) == 1


REFUSED = {
    "another action": replace(GOOD, action_id="other", seq=9),
    "another holder": replace(GOOD, holder="other", seq=9),
    "a holder in other case": replace(GOOD, holder="HOLDER", seq=9),
    "a deregistered VIM": replace(GOOD, vim_id="gone", action_id="gone-a1", seq=9),
    "an unknown VIM": replace(GOOD, vim_id="unknown"),
    "an id that no database can keep": replace(GOOD, vim_id="nul\0"),
    "an action that no database can keep": replace(GOOD, action_id="half \ud800", seq=9),
}


@pytest.mark.parametrize("report", REFUSED.values(), ids=REFUSED)
def test_a_report_from_any_other_changes_not_one_column(store: VimStore, engine: Engine, report: Report) -> None:
    registered(store)
    registered(store, "gone")
    store.record_statuses([GOOD])
    store.deregister("gone")
    before = rows(engine)
    assert verdicts(store.record_statuses([replace(report, status=U)])) == [RecordVerdict.BAD_ACTION]
    assert rows(engine) == before


def test_a_seq_that_is_not_newer_changes_not_one_column(store: VimStore, engine: Engine) -> None:
    registered(store)
    store.record_statuses([GOOD])
    before = rows(engine)
    recorded = store.record_statuses([replace(GOOD, status=U), replace(GOOD, status=U, seq=4)])
    assert verdicts(recorded) == [RecordVerdict.KNOWN] * 2
    assert recorded[0].row == RowState(1, "vim-1-a1", R, 5, "holder")
    assert rows(engine) == before


BREACHES = {
    "action": replace(GOOD, action_id="other", seq=9),
    "seq": replace(GOOD, seq=5),
    "holder": replace(GOOD, holder="other", seq=9),
}


def gullible(row: RowState | None, report: Report) -> Recorded:
    assert row is not None
    after = row._replace(status=report.status, seq=report.seq or row.seq + 1, holder=report.holder)
    return Recorded(RecordVerdict.APPLIED, after, row.status)


@pytest.mark.parametrize("report", BREACHES.values(), ids=BREACHES)
def test_the_update_refuses_what_the_decision_wrongly_let_pass(
    store: VimStore, engine: Engine, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    registered(store)
    registered(store, "vim-2")
    store.record_statuses([GOOD])
    before = rows(engine)
    monkeypatch.setattr(recording, "decide", gullible)
    innocent = Report("vim-2", "vim-2-a1", U, None, "h", None)
    with pytest.raises(BatchFailed, match="1 of 2"):
        store.record_statuses([innocent, innocent, replace(report, status=U)])
    assert rows(engine) == before


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("report", BREACHES.values(), ids=BREACHES)
def test_the_one_statement_refuses_what_the_decision_would_let_pass(
    store: VimStore, engine: Engine, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    registered(store)
    registered(store, "vim-2")
    store.record_statuses([GOOD])
    before = store.get("vim-1")
    monkeypatch.setattr(at_once, "decide", gullible)
    innocent = Report("vim-2", "vim-2-a1", U, None, "h", None)
    with pytest.raises(BatchFailed, match="1 of 2"):
        store.record_statuses([innocent, replace(report, status=U)])
    assert store.get("vim-1") == before
    assert store.get("vim-2").status == U


def test_the_update_refuses_a_deregistered_vim_even_with_its_action(store: VimStore, engine: Engine) -> None:
    registered(store)
    with engine.begin() as connection:  # as no method leaves it
        connection.execute(VIMS.update().values(deleted_at=VIMS.c.created_at))
        values = {"vim": "vim-1", "action": "vim-1-a1", "seq": 1, "by": "h", "new": R, "why": None}
        _, since, now = recording._lock(connection, ["vim-1"])
        values |= {"since": since["vim-1"], "now": now}
        with pytest.raises(BatchFailed, match="0 of 1"):
            recording._write(connection, [values], [])
    assert verdicts(store.record_statuses([GOOD])) == [RecordVerdict.BAD_ACTION]


MEANWHILE = {  # what another writes while a report waits for the row → what the report then finds
    "another action": (
        {"action_id": "a2", "generation": 2},
        RecordVerdict.BAD_ACTION,
        RowState(2, "a2", R, 5, "holder"),
    ),
    "a newer seq": ({"status_seq": 9}, RecordVerdict.KNOWN, RowState(1, "vim-1-a1", R, 9, "holder")),
    "another holder": ({"holder": "h2"}, RecordVerdict.BAD_ACTION, RowState(1, "vim-1-a1", R, 5, "h2")),
    "a reason": ({"reason": "other"}, RecordVerdict.APPLIED, RowState(1, "vim-1-a1", U, 6, "holder")),
    "a status": ({"status": "UNKNOWN"}, RecordVerdict.APPLIED, RowState(1, "vim-1-a1", U, 6, "holder")),
}


def until_it_waits(asked: Future[Any], other: Connection) -> None:
    """Until what was asked waits for a row that `other` has."""
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))")
    while not other.execute(waits).scalar_one():
        assert not asked.done()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("columns", "verdict", "after"), MEANWHILE.values(), ids=MEANWHILE)
def test_a_report_that_waited_for_a_row_is_judged_by_what_the_row_has_become(
    store: VimStore, engine: Engine, columns: dict[str, Any], verdict: RecordVerdict, after: RowState
) -> None:
    registered(store)
    store.record_statuses([GOOD])
    with ThreadPoolExecutor(1) as pool, engine.connect() as other:
        other.execute(VIMS.update().values(**columns))
        asked = pool.submit(store.record_statuses, [replace(GOOD, status=U, seq=6)])
        until_it_waits(asked, other)
        released_at = other.execute(select(utc_now())).scalar_one()
        other.commit()
        [recorded] = asked.result()
    old = VimStatus(columns.get("status", R))
    assert recorded == Recorded(verdict, after, old)
    vim, [*news, _] = store.get("vim-1"), store.history("vim-1")
    assert (vim.status, vim.generation) == (after.status, after.generation)
    assert (vim.updated_at >= released_at) is (verdict is RecordVerdict.APPLIED)
    assert [(change.old, change.new) for change in news] == ([(old, U)] if verdict is RecordVerdict.APPLIED else [])


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_rows_are_locked_in_the_order_of_their_ids_so_that_two_writers_never_wait_for_each_other(
    store: VimStore, engine: Engine
) -> None:
    vim_ids = ["vim-1", "vim-2", "vim-3"]
    for vim_id in reversed(vim_ids):
        registered(store, vim_id)
    reports = [replace(GOOD, vim_id=vim_id, action_id=f"{vim_id}-a1") for vim_id in ("vim-2", "vim-3", "vim-1")]
    for held in vim_ids:
        reports = [replace(report, seq=(report.seq or 0) + 1) for report in reports]
        with ThreadPoolExecutor(1) as pool, engine.connect() as other, engine.connect() as third:
            other.execute(select(VIMS.c.id).where(VIMS.c.id == held).with_for_update())
            asked = pool.submit(store.record_statuses, reports)
            until_it_waits(asked, other)
            unlocked = select(VIMS.c.id).order_by(VIMS.c.id).with_for_update(read=True, skip_locked=True)
            assert third.execute(unlocked).scalars().all() == [vim_id for vim_id in vim_ids if vim_id > held]
            third.rollback()
            other.rollback()
            assert verdicts(asked.result()) == [RecordVerdict.APPLIED] * 3


def test_each_of_several_reports_on_one_vim_sees_the_one_before(store: VimStore) -> None:
    registered(store)
    reports = [
        replace(GOOD, status=R, seq=1, reason="1"),
        replace(GOOD, status=U, seq=2, reason="2"),
        replace(GOOD, status=U, seq=2, reason="again"),
        replace(GOOD, status=R, seq=9, holder="second", reason="another holder"),
        replace(GOOD, status=U, seq=None, reason="next"),
        replace(GOOD, status=R, seq=7, reason="7"),
    ]
    recorded = store.record_statuses(reports)
    applied, known, bad = RecordVerdict.APPLIED, RecordVerdict.KNOWN, RecordVerdict.BAD_ACTION
    assert verdicts(recorded) == [applied, applied, known, bad, applied, applied]
    assert [one.row.seq for one in recorded if one.row] == [1, 2, 2, 2, 3, 7]
    assert [one.old_status for one in recorded] == [VimStatus.PENDING, R, U, U, U, U]
    assert [(change.new, change.reason) for change in store.history("vim-1")] == [(R, "7"), (U, "2"), (R, "1")]
    assert store.get("vim-1").reason == "7"


def test_there_and_back_in_one_batch_is_a_change_all_the_same(store: VimStore) -> None:
    registered(store)
    store.record_statuses([GOOD])
    store.record_statuses([replace(GOOD, status=U, seq=6), replace(GOOD, seq=7)])
    assert len(store.history("vim-1")) == 3
    assert store.get("vim-1").status_since == store.history("vim-1")[0].at


def test_no_reports_are_no_transaction(store: VimStore, engine: Engine) -> None:
    assert count_statements(store, engine, []) == 0


def count_statements(store: VimStore, engine: Engine, reports: Sequence[Report]) -> int:
    statements: list[str] = []

    with executed(engine, lambda _, statement, __: statements.append(statement)):
        store.record_statuses(reports)
    return len([statement for statement in statements if not statement.startswith("BEGIN")])


def test_a_thousand_reports_take_as_many_statements_as_one(store: VimStore, engine: Engine) -> None:
    vims = [registered(store, f"vim-{number}") for number in range(100)]
    one, *others = [Report(vim.id, f"{vim.id}-a1", status, None, "h", "r") for vim in vims for status in [R, U] * 5]
    for_one, for_many = {"sqlite": (3, 3), "postgresql": (1, 3), "mysql": (4, 4)}[engine.dialect.name]
    assert count_statements(store, engine, [one]) == for_one
    assert count_statements(store, engine, others) == for_many
    assert [len(store.history(vim.id)) for vim in vims] == [10] * 100
    each_once = [Report(vim.id, f"{vim.id}-a1", R, None, "h", "r") for vim in vims]
    assert count_statements(store, engine, each_once) == for_one


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("number", "counted"), [(5000, False), (20, True)])
def test_rows_are_found_by_their_key_whatever_the_database_knows_of_its_tables(
    database_url: str, number: int, counted: bool
) -> None:
    engine = open_engine(database_url)
    upgrade(engine)
    vim = registered(VimStore(engine), "0" * 36)
    numbers = func.generate_series(1, number).table_valued("number").render_derived()
    name = cast(numbers.c.number, String)
    apart = {"id": func.lpad(name, 36, "0"), "live_name": name}
    copies = select(*(apart.get(one.name, one) for one in VIMS.c)).join(numbers, true())
    with engine.begin() as connection:
        connection.execute(insert(VIMS).from_select(list(VIMS.c), copies))
        if counted:
            connection.execute(text("ANALYZE"))
    plans: list[str] = []

    def explain(connection: Connection, statement: str, parameters: Any) -> None:
        if statement.startswith("WITH"):
            plans.append("\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()))

    report = replace(GOOD, vim_id=vim.id, action_id=f"{vim.id}-a1")
    with executed(engine, explain):
        VimStore(engine).record_statuses([report])
        if not counted:  # two on one VIM take several statements, and may well read all of a small table
            VimStore(engine).record_statuses([report, report])
    assert len(plans) == (1 if counted else 2)
    for plan in plans:
        assert "vims_pkey" in plan
        assert "Seq Scan" not in plan
    engine.dispose()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_batch_is_not_looked_through_for_each_row_though_rows_were_counted_when_there_were_few(
    database_url: str,
) -> None:
    number, steps = 2000, 1000
    engine = open_engine(database_url)
    upgrade(engine)
    registered(VimStore(engine), "vim-1")
    columns = ", ".join(one.name for one in VIMS.c if one.name not in ("id", "name", "live_name"))
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.exec_driver_sql(
            f"WITH RECURSIVE n(i) AS (VALUES(2) UNION ALL SELECT i + 1 FROM n WHERE i < {number})"
            f" INSERT INTO vims (id, name, live_name, {columns})"
            f" SELECT 'vim-' || i, 'vim-' || i, 'vim-' || i, {columns} FROM vims, n"
        )
    engine.dispose()  # what was counted is read with a new connection
    taken: list[int] = []
    with engine.begin() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: taken.append(steps), steps)
        found, _ = recording._locked(connection, [f"vim-{vim}" for vim in range(1, 51)])
    assert len(found) == 50
    assert sum(taken) < 100 * number
    engine.dispose()


TRIGGERS = {
    "sqlite": [
        "CREATE TRIGGER refuse BEFORE UPDATE ON vims WHEN NEW.reason = 'poison'"
        " BEGIN SELECT RAISE(ABORT, 'no poison here'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.reason = 'poison' THEN RAISE 'no poison here'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER refuse BEFORE UPDATE ON vims FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
    "mariadb": [
        "CREATE TRIGGER refuse BEFORE UPDATE ON vims FOR EACH ROW IF NEW.reason = 'poison'"
        " THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no poison here'; END IF"
    ],
}


def test_one_report_that_the_database_refuses_fails_its_batch_and_nothing_is_written(
    database_kind: str, database_url: str
) -> None:
    engine = open_engine(database_url)
    upgrade(engine)
    store = VimStore(engine)
    with engine.begin() as connection:
        for statement in TRIGGERS[database_kind]:
            connection.execute(text(statement))
    good, poison = [Report(registered(store, name).id, f"{name}-a1", R, 1, "h", name) for name in ("good", "poison")]
    before = rows(engine)
    for batch in ([good, poison], [poison]):
        with pytest.raises(BatchFailed, match="no poison here"):
            store.record_statuses(batch)
        assert rows(engine) == before
    assert verdicts(store.record_statuses([good])) == [RecordVerdict.APPLIED]
    engine.dispose()


UNKEEPABLE = [{"holder": "nul\0"}, {"holder": "x" * 201}, {"reason": "half \ud800"}, {"reason": "x" * 501}]


@pytest.mark.parametrize("bad", [*UNKEEPABLE, {"seq": 2**63}, {"seq": -1}])
def test_a_report_that_no_database_can_keep_fails_its_batch(store: VimStore, bad: dict[str, Any]) -> None:
    registered(store)
    with pytest.raises(BatchFailed, match=next(iter(bad))):
        store.record_statuses([GOOD, replace(GOOD, **bad)])
    assert store.get("vim-1").status == VimStatus.PENDING
