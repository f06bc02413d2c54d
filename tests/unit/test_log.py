"""What a log line looks like."""

from vimmon.log import event


def test_an_event_is_a_name_and_its_fields() -> None:
    assert event("status_changed", vim_id="v", generation=3, reason="no answer within 2 s", none=None, wait_s=0.5) == (
        'status_changed vim_id=v generation=3 reason="no answer within 2 s" wait_s=0.5'
    )


def test_a_value_cannot_pretend_to_be_another_line_or_field() -> None:
    line = event("e", reason='x"\nfake level=ERROR', empty="")
    assert "\n" not in line
    assert line == 'e reason="x\\"\\nfake level=ERROR" empty=""'
