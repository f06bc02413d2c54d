"""What `vimmon vim register -f` is given, from reading it to what would be done."""

from vimmon.cli.manifest.file import UnreadableFile, parse
from vimmon.cli.manifest.plan import BadEntries, plan
from vimmon.vim import check_name, parse_auth_url


def run(data: bytes) -> None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return  # read_file refuses it
    try:
        entries = parse(text)
    except UnreadableFile:
        return
    try:
        steps = plan(entries, {}, may_update=False)
    except BadEntries:
        return
    assert [step.where for step in steps] == [entry.where for entry in entries]
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        check_name(step.name)
        parse_auth_url(step.auth_url)
        assert step.action == "register"
