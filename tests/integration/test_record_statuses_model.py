"""Property: batches of status reports end as a simple model says that the same reports end one by one."""

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from tests.integration.databases import registered
from vimmon.registry.models import STATUS_CHANGES, VIMS
from vimmon.registry.store import Report, RowState, VimStore
from vimmon.vim import VimStatus


@dataclass
class Model:
    """What the rules say, one report at a time, for one VIM that is called by `vim_id`."""

    action: str | None
    status: VimStatus = VimStatus.PENDING
    seq: int = 0
    holder: str | None = None
    reason: str | None = None
    changes: list[tuple[VimStatus, VimStatus, str | None, int]] = field(default_factory=list)

    def hear(self, report: Report) -> str:
        if report.action_id != self.action:
            return "bad_action"
        if self.holder is not None and report.holder != self.holder:
            return "bad_action"
        if report.seq is not None and report.seq <= self.seq:
            return "known"
        self.seq = self.seq + 1 if report.seq is None else report.seq
        if self.status != report.status:
            self.changes.append((self.status, report.status, report.reason, self.seq))
        self.status, self.holder, self.reason = report.status, report.holder, report.reason
        return "applied"


REPORTS = st.builds(
    Report,
    vim_id=st.sampled_from(["a", "b", "c", "gone", "unknown"]),
    action_id=st.sampled_from(["a1", "a1", "a1", "other"]),
    status=st.sampled_from(list(VimStatus)[1:]),
    seq=st.one_of(st.none(), st.integers(0, 6)),
    holder=st.sampled_from(["h1", "h1", "h2"]),
    reason=st.sampled_from([None, "x", "y"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(REPORTS, max_size=12), max_size=4))
def test_batches_end_as_the_same_reports_one_by_one(
    store: VimStore, engine: Engine, batches: list[list[Report]]
) -> None:
    with engine.begin() as connection:
        connection.execute(VIMS.delete())
        connection.execute(STATUS_CHANGES.delete())
    models = {vim_id: Model("a1") for vim_id in ("a", "b", "c")}
    for vim_id in (*models, "gone"):
        registered(store, vim_id, action_id="a1")
    store.deregister("gone")
    models["gone"] = Model(None)
    for batch in batches:
        expected = [models[one.vim_id].hear(one) if one.vim_id in models else "bad_action" for one in batch]
        assert [one.verdict for one in store.record_statuses(batch)] == expected
    for vim_id in ("a", "b", "c"):
        model, vim, history = models[vim_id], store.get(vim_id), store.history(vim_id)[::-1]
        assert (vim.status, vim.reason) == (model.status, model.reason)
        assert [(change.old, change.new, change.reason, change.seq) for change in history] == model.changes
        assert vim.status_since == (history[-1].at if history else vim.created_at)
        [again] = store.record_statuses([Report(vim_id, "a1", VimStatus.REACHABLE, 0, model.holder or "h", None)])
        assert again.row == RowState(1, "a1", model.status, model.seq, model.holder)
    assert store.history("gone") == []
