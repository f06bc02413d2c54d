"""Whatever is given, and however long: the error that refuses it can be read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vimmon.cli.manifest.file import parse
from vimmon.cli.manifest.plan import plan
from vimmon.cli.probe_option import parse_probe_option
from vimmon.errors import REPEATED_MAX, VimAmbiguous, VimmonError, VimNotFound, repeated
from vimmon.probe_checks import parse_status_codes
from vimmon.probes import probe_for
from vimmon.registry.database import open_engine
from vimmon.registry.registry import Registry
from vimmon.registry.store import VimStore
from vimmon.settings import load_settings
from vimmon.vim import VimType, check_name, check_vim_id, parse_auth_url

LONG = "x" * 100_000
URL = "https://keystone.example.org:5000/v3"


def refuse(error: VimmonError) -> None:
    raise error


def registry(folder: Path) -> Registry:
    return Registry(VimStore(open_engine(f"sqlite:///{folder}/none.sqlite")), None, None)  # type: ignore[arg-type]  # unused


def entry(**said: object) -> Callable[[Path], object]:
    text = json.dumps([{"name": "tokyo", "auth_url": URL, **said}])
    return lambda _: plan(parse(text), {}, may_update=False)


@pytest.mark.parametrize(
    "give",
    [
        entry(name=LONG),
        entry(name="a", auth_url=LONG),
        entry(type=LONG),
        entry(probe=LONG),
        entry(probe={"kind": LONG}),
        entry(probe={"kind": "tcp", LONG: 1}),
        entry(probe={"kind": "tcp", "interval_s": LONG}),
        entry(probe={"kind": "http", "preset": LONG, "server_name": LONG, "expect_status": LONG}),
        entry(**{LONG: 1}),
        lambda _: parse(f'{{"{LONG}": 1, "{LONG}": 2}}'),
        lambda _: parse(f"? {LONG[:900]}\n: 1\n? {LONG[:900]}\n: 2"),
        lambda _: parse(json.dumps({"vims": [], **{f"{number}{LONG[:50]}": 1 for number in range(100)}})),
        lambda _: parse(f"- !!{LONG} a"),
        lambda _: parse(f"- *{LONG}"),
        lambda _: parse(f"[{LONG}"),
        lambda _: parse_probe_option(f"tcp,{LONG}"),
        lambda _: parse_probe_option(f"tcp,{LONG}=1,{LONG}=2"),
        lambda _: parse_probe_option(f"{{{LONG}"),
        lambda _: parse_status_codes(LONG),
        lambda _: parse_status_codes("9" * 4000),
        lambda _: probe_for(VimType.GENERIC, URL, {"kind": "tcp", "source_address": LONG}),
        lambda _: parse_auth_url(f"https://{LONG[:1500]}"),
        lambda _: check_name(LONG),
        lambda _: check_vim_id(LONG),
        lambda folder: registry(folder).get(LONG),
        lambda folder: registry(folder).find(LONG),
        lambda folder: registry(folder).register("tokyo", URL, type=LONG),
        lambda _: load_settings({f"VIMMON_{LONG}": "1", "VIMMON_ENV_FILE": "/dev/null"}),
        lambda _: load_settings({"VIMMON_PREFIX": LONG, "VIMMON_ENV_FILE": "/dev/null"}),
        lambda _: open_engine(f"{LONG}://db/vimmon"),
        lambda _: refuse(VimNotFound(LONG)),
        lambda _: refuse(VimAmbiguous(LONG, [("a", "1"), ("b", "2")])),
    ],
)
def test_an_error_repeats_no_more_of_what_was_given_than_tells_it(
    give: Callable[[Path], object], tmp_path: Path
) -> None:
    with pytest.raises(VimmonError) as caught:
        give(tmp_path)
    assert len(str(caught.value)) + len(caught.value.remedy) < 1000


def test_what_may_be_a_name_is_repeated_whole() -> None:
    assert repeated(LONG[:REPEATED_MAX]) == LONG[:REPEATED_MAX]
    assert repeated(LONG) == f"{LONG[:REPEATED_MAX]}… (100000 characters)"
