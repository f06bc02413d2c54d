"""What one report does to a row."""

from dataclasses import replace

import pytest

from vimmon.registry.reports import RecordVerdict, Report, RowState, decide
from vimmon.vim import VimStatus

ROW = RowState(generation=3, action_id="wanted", status=VimStatus.REACHABLE, seq=7, holder="holder")
REPORT = Report("vim", "wanted", VimStatus.UNREACHABLE, 8, "holder", "no answer within 2 s")


def test_news_from_the_holder_is_applied() -> None:
    recorded = decide(ROW, REPORT)
    assert recorded.verdict == RecordVerdict.APPLIED
    assert recorded.row == ROW._replace(status=VimStatus.UNREACHABLE, seq=8)
    assert recorded.old_status == VimStatus.REACHABLE


def test_the_first_that_reports_becomes_the_holder() -> None:
    recorded = decide(ROW._replace(holder=None), replace(REPORT, holder="first"))
    assert recorded.verdict == RecordVerdict.APPLIED
    assert recorded.row is not None
    assert recorded.row.holder == "first"


@pytest.mark.parametrize("seq", [0, 1, 7])
def test_a_seq_that_is_not_newer_is_known(seq: int) -> None:
    recorded = decide(ROW, replace(REPORT, seq=seq))
    assert (recorded.verdict, recorded.row) == (RecordVerdict.KNOWN, ROW)


def test_a_report_without_seq_takes_the_next_one() -> None:
    recorded = decide(ROW, replace(REPORT, seq=None))
    assert recorded.verdict == RecordVerdict.APPLIED
    assert recorded.row is not None
    assert recorded.row.seq == 8


def test_seqs_may_be_left_out() -> None:
    recorded = decide(ROW, replace(REPORT, seq=100))
    assert recorded.row is not None
    assert recorded.row.seq == 100


@pytest.mark.parametrize("report", [replace(REPORT, action_id="other"), replace(REPORT, holder="other")])
@pytest.mark.parametrize("seq", [None, 1, 8])
def test_another_action_or_holder_is_refused_whatever_its_seq(report: Report, seq: int | None) -> None:
    recorded = decide(ROW, replace(report, seq=seq))
    assert (recorded.verdict, recorded.row) == (RecordVerdict.BAD_ACTION, ROW)


def test_nobody_reports_on_a_deregistered_vim() -> None:
    tombstone = ROW._replace(action_id=None, holder=None)
    recorded = decide(tombstone, REPORT)
    assert (recorded.verdict, recorded.row) == (RecordVerdict.BAD_ACTION, tombstone)


def test_nobody_reports_on_an_unknown_vim() -> None:
    recorded = decide(None, REPORT)
    assert (recorded.verdict, recorded.row, recorded.old_status) == (RecordVerdict.BAD_ACTION, None, None)
