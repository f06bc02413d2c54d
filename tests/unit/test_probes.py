"""Which probes there are, what they are by default, and what is refused."""

import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimmon.errors import InvalidInput
from vimmon.probes import DEFAULTS, HttpPreset, HttpProbe, IcmpProbe, TcpProbe, parse_probe, probe_for
from vimmon.vim import VimType

URL = "https://keystone.example.org:5000/v3"


@pytest.mark.parametrize(
    ("vim_type", "probe"),
    [
        (VimType.OPENSTACK, HttpProbe(auth_url=URL, preset=HttpPreset.KEYSTONE, interval_s=30, timeout_s=5)),
        (VimType.KUBERNETES, HttpProbe(auth_url=URL, preset=HttpPreset.KUBERNETES, interval_s=30, timeout_s=5)),
        (VimType.GENERIC, TcpProbe(auth_url=URL, interval_s=10, timeout_s=2)),
    ],
)
def test_each_type_of_vim_has_a_default_probe(vim_type: VimType, probe: HttpProbe | TcpProbe) -> None:
    assert probe_for(vim_type, URL) == probe
    assert (probe.rise, probe.fall, probe.confirm_interval_s) == (2, 3, 2)


def test_every_type_of_vim_has_a_default() -> None:
    assert set(DEFAULTS) == set(VimType)


def test_settings_change_only_what_they_name() -> None:
    probe = probe_for(VimType.KUBERNETES, URL, {"interval_s": 5, "fall": 1})
    assert probe == HttpProbe(auth_url=URL, preset=HttpPreset.KUBERNETES, interval_s=5, fall=1)


def test_another_kind_than_the_types_own_may_be_chosen() -> None:
    assert probe_for(VimType.OPENSTACK, URL, {"kind": "tcp"}) == TcpProbe(auth_url=URL)
    assert probe_for(VimType.GENERIC, URL, {"kind": "http"}) == HttpProbe(auth_url=URL, preset=HttpPreset.PLAIN)
    assert probe_for(VimType.KUBERNETES, URL, {"kind": "icmp"}) == IcmpProbe(auth_url=URL, interval_s=10, timeout_s=1)
    chosen = probe_for(VimType.GENERIC, URL, {"kind": "http", "preset": "kubernetes"})
    assert chosen == HttpProbe(auth_url=URL, preset=HttpPreset.KUBERNETES)


@given(
    vim_type=st.sampled_from(VimType),
    settings=st.fixed_dictionaries(
        {},
        optional={
            "interval_s": st.floats(0.1, 3600),
            "confirm_interval_s": st.floats(0.05, 3600),
            "timeout_s": st.floats(0.05, 60),
            "rise": st.integers(1, 100),
            "fall": st.integers(1, 100),
        },
    ),
)
def test_stored_settings_make_the_same_probe_again(vim_type: VimType, settings: dict[str, Any]) -> None:
    probe = probe_for(vim_type, URL, settings)
    assert "auth_url" not in probe.settings()
    assert probe_for(vim_type, URL, probe.settings()) == probe
    assert parse_probe(probe.model_dump(mode="json")) == probe
    assert probe.confirm_interval_s <= probe.interval_s


def test_confirming_is_never_slower_than_probing_however_the_probe_was_made() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TcpProbe(auth_url=URL, interval_s=1).confirm_interval_s == 1
        assert TcpProbe(auth_url=URL, interval_s=5, confirm_interval_s=9).confirm_interval_s == 5
        assert TcpProbe(auth_url=URL, interval_s=5, confirm_interval_s=3).confirm_interval_s == 3
    assert probe_for(VimType.GENERIC, URL, {"interval_s": 1}).confirm_interval_s == 1


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"interval_s": 0}, "probe.interval_s"),
        ({"interval_s": 3601}, "probe.interval_s"),
        ({"interval_s": float("nan")}, "probe.interval_s"),
        ({"interval_s": "soon"}, "probe.interval_s"),
        ({"confirm_interval_s": 0}, "probe.confirm_interval_s"),
        ({"timeout_s": 61}, "probe.timeout_s"),
        ({"rise": 0}, "probe.rise"),
        ({"fall": 101}, "probe.fall"),
        ({"preset": "nova"}, "probe.preset"),
        ({"intervall_s": 5}, "probe.intervall_s"),
        ({"kind": "carrier-pigeon"}, "probe"),
    ],
)
def test_a_setting_that_is_refused_is_named(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        probe_for(VimType.OPENSTACK, URL, settings)
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize("probe", [{}, {"kind": "tcp"}, {"kind": "http", "auth_url": URL}, {"auth_url": URL}])
def test_a_probe_that_lacks_something_is_refused(probe: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        parse_probe(probe)


def test_a_probe_without_a_target_that_can_be_probed_is_refused_and_its_password_not_repeated() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_probe({"kind": "tcp", "auth_url": "https://admin:hunter2@keystone"})
    assert caught.value.field == "auth_url"
    assert "hunter2" not in str(caught.value)
