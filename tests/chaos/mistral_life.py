"""Rows: Mistral away while VIMs come and go; a worker killed in the middle of a job."""

import time

import psutil  # type: ignore[import-untyped]  # its type hints are a package of their own

from tests.chaos.cloud import Cloud
from tests.chaos.rows import Late, Row, Scale, until
from tests.support.processes import all_end

CARRIED_OUT_WITHIN_S = 120
JOB_WITHIN_S = 90  # RQ's own times, which no setting makes shorter
EXECUTE = ("POST", "/v2/executions")


def mistral_away(on: Cloud, scale: Scale) -> Row:
    # Jobs are tried again after 1, 3, 7, 15, 30 and 60 s, whatever the scale: it is back some time before one of these.
    away_s, came, went = scale.count(300, 24), scale.count(20, 6), scale.count(5, 2)
    row = Row("Mistral away", f"{away_s:g} s, {came} VIMs registered meanwhile and {went} de-registered")
    old = on.brought_up(went, name="before")
    on.settle()
    on.door.shut()
    begun = time.monotonic()
    new = [on.register(f"meanwhile-{number}", went + number) for number in range(came)]
    for vim in old:
        on.registry.deregister(vim.id)
    ids, gone = [vim.id for vim in new], [vim.id for vim in old]
    try:
        until(lambda: not on.held_by(on.executor.name).intersection(gone), scale.s(90) + scale.slack_s, "actions left")
        time.sleep(max(0.0, away_s - (time.monotonic() - begun)))
        on.door.open()
        begun = time.monotonic()
        within_s = CARRIED_OUT_WITHIN_S if not scale.short else 45
        until(lambda: on.have_statuses(dict.fromkeys(ids, "REACHABLE")), within_s, "the new ones REACHABLE")
        until(lambda: on.all_held(ids), within_s, "the new ones held")
        until(lambda: all(row["cleaned_at"] for row in on.audit.rows(gone).values()), within_s, "the old ones clean")
        row.heal_s = time.monotonic() - begun
        row.must(not any(on.has_workflow(vim_id) for vim_id in gone), "a workflow is left")
        row.must(all(len(on.executions(vim_id)) == 1 for vim_id in ids), "not one execution each")
        row.restarts = sum(on.audit.generations(ids).values()) - len(ids)
        row.must(not row.restarts, f"{row.restarts} were started more than once")
    except Late as late:
        row.why.append(str(late))
    finally:
        on.door.open()
        on.clear(new)
    row.note_writes(on.audit.stale([*ids, *gone]))
    return row


def worker_killed(on: Cloud, scale: Scale) -> Row:
    row = Row("RQ worker SIGKILLed in mid job", "with its job's process, while Mistral is asked to start a monitor")
    on.settle()
    with on.gate.hold(*EXECUTE, "before") as call:
        vim = on.register("worker", 0)
        assert call.reached.wait(JOB_WITHIN_S)
        (horse,) = until(lambda: found if len(found := _horses(on)) == 1 else None, JOB_WITHIN_S, "no other job runs")
        worker = horse.parent()
        worker.kill()
        horse.kill()
        assert all_end([worker, horse])
    begun = time.monotonic()
    try:
        until(lambda: on.have_statuses({vim.id: "REACHABLE"}), JOB_WITHIN_S, "REACHABLE")
        row.heal_s = time.monotonic() - begun
        until(lambda: on.all_held([vim.id]), scale.slack_s, "held")
        row.must(on.executions(vim.id) == {vim.action_id: "RUNNING"}, f"executions: {on.executions(vim.id)}")
        row.must(on.actions(vim.id) == 1, f"{on.actions(vim.id)} actions")
        row.restarts = sum(on.audit.generations([vim.id]).values()) - 1
        row.must(not row.restarts, "it was started more than once")
    except Late as late:
        row.why.append(str(late))
    finally:
        on.clear([vim])
    row.note_writes(on.audit.stale([vim.id]))
    return row


def _horses(on: Cloud) -> list[psutil.Process]:
    """The processes in which workers carry out a job now: conductor → service → worker → horse."""
    conductors = [psutil.Process(conductor.pid) for conductor in on.conductors]
    services = [service for conductor in conductors for service in conductor.children()]
    return [horse for service in services for worker in service.children() for horse in worker.children()]
