"""Which probes there are, what they are by default, and what is refused."""

import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimmon.errors import InvalidInput
from vimmon.probes import DEFAULTS, HttpPreset, HttpProbe, IcmpProbe, IpFamily, TcpProbe, parse_probe, probe_for
from vimmon.vim import VimType

URL = "https://keystone.example.org:5000/v3"
NESTED: list[Any] = []
for _ in range(10_000):
    NESTED = [NESTED]
LONGEST_NAME = ".".join(["a" * 63] * 3 + ["a" * 61])


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
        ({"kind": "carrier-pigeon"}, "probe.kind"),
        ({"auth_url": "https://other.test"}, "probe.auth_url"),
        ({"source_address": "224.0.0.1"}, "probe.source_address"),
        ({"source_address": "ff02::1"}, "probe.source_address"),
        ({"source_address": "0.0.0.0"}, "probe.source_address"),
        ({"source_address": "::"}, "probe.source_address"),
        ({"server_name": ".".join(["a" * 60] * 5)}, "probe.server_name"),
        ({"server_name": "fe80::1%eth0"}, "probe.server_name"),
        ({"fall": True}, "probe.fall"),
        ({"kind": "tcp", "rise": True}, "probe.rise"),
        ({"interval_s": True}, "probe.interval_s"),
        ({"confirm_interval_s": True}, "probe.confirm_interval_s"),
        ({"timeout_s": True}, "probe.timeout_s"),
        ({"ip_family": 5}, "probe.ip_family"),
        ({"ip_family": True}, "probe.ip_family"),
        ({"source_address": "eth0"}, "probe.source_address"),
        ({"source_address": "::1", "ip_family": 4}, "probe.ip_family"),
        ({"expect_status": 200, "preset": "keystone"}, "probe.expect_status"),
        ({"expect_text": "ok", "preset": "kubernetes"}, "probe.expect_text"),
        ({"expect_text": ""}, "probe.expect_text"),
        ({"expect_status": ""}, "probe.expect_status"),
        ({"expect_status": "2xx"}, "probe.expect_status"),
        ({"expect_status": "200-"}, "probe.expect_status"),
        ({"expect_status": "299-200"}, "probe.expect_status"),
        ({"expect_status": 99}, "probe.expect_status"),
        ({"expect_status": "200-600"}, "probe.expect_status"),
        ({"expect_status": True}, "probe.expect_status"),
        ({"expect_status": [200, [201]]}, "probe.expect_status"),
        ({"expect_status": "²00"}, "probe.expect_status"),
        ({"expect_status": "٢٠٠"}, "probe.expect_status"),
        ({"expect_status": ",".join(["200"] * 251)}, "probe.expect_status"),
        ({"expect_status": NESTED}, "probe.expect_status"),
        ({"ca_file": "ca.pem"}, "probe.ca_file"),
        ({"client_cert_file": "/a\n"}, "probe.client_cert_file"),
        ({"client_key_file": "/key.pem"}, "probe.client_key_file"),
        ({"server_name": "a b"}, "probe.server_name"),
        ({"server_name": ""}, "probe.server_name"),
        ({"verify": "perhaps"}, "probe.verify"),
        ({"proxy": "https://proxy:3128"}, "probe.proxy"),
        ({"proxy": "http://proxy:3128/path"}, "probe.proxy"),
        ({"proxy": "proxy:3128"}, "probe.proxy"),
        ({"kind": "tcp", "proxy": "http://proxy:3128"}, "probe.proxy"),
        ({"kind": "icmp", "verify": False}, "probe.verify"),
    ],
)
def test_a_setting_that_is_refused_is_named(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        probe_for(VimType.OPENSTACK, URL, settings)
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"kind": "ping"}, "The kinds are http, tcp, icmp"),
        ({"timeout": 3}, "Did you mean timeout_s?"),
        ({"kind": "icmp", "intervall_s": 3}, "Did you mean interval_s?"),
        ({"kind": "tcp", "proxy": "http://proxy:3128"}, "See the kinds and settings in docs/probes.md"),
        ({"auth_url": "https://other.test"}, "Give it with --auth-url"),
        ({"source_address": "eth0"}, "Give an address of the executor's host"),
    ],
)
def test_whoever_mistyped_is_told_what_there_is(settings: dict[str, Any], remedy: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        probe_for(VimType.OPENSTACK, URL, settings)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
@pytest.mark.parametrize("kind", ["http", "tcp", "icmp"])
def test_an_address_that_is_nobodys_cannot_be_probed(host: str, kind: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        probe_for(VimType.GENERIC, f"http://{host}:5000", {"kind": kind})
    assert caught.value.field == "auth_url"
    assert caught.value.remedy


def test_a_problem_is_told_in_plain_words() -> None:
    with pytest.raises(InvalidInput, match="it should be less than or equal to 60"):
        probe_for(VimType.GENERIC, URL, {"timeout_s": 61})


@pytest.mark.parametrize("probe", [{}, {"kind": "tcp"}, {"kind": "http", "auth_url": URL}, {"auth_url": URL}])
def test_a_probe_that_lacks_something_is_refused(probe: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        parse_probe(probe)


def test_a_probe_without_a_target_that_can_be_probed_is_refused_and_its_password_not_repeated() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_probe({"kind": "tcp", "auth_url": "https://admin:hunter2@keystone"})
    assert caught.value.field == "auth_url"
    assert "hunter2" not in str(caught.value)


def test_a_password_for_a_proxy_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidInput) as caught:
        probe_for(VimType.OPENSTACK, URL, {"proxy": "http://admin:hunter2@proxy:3128"})
    assert caught.value.field == "probe.proxy"
    assert "hunter2" not in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file", "server_name"])
def test_settings_of_tls_are_refused_where_there_is_none(setting: str) -> None:
    value = "vim.test" if setting == "server_name" else "/etc/file.pem"
    assert probe_for(VimType.OPENSTACK, URL, {setting: value})
    with pytest.raises(InvalidInput) as caught:
        probe_for(VimType.OPENSTACK, URL.replace("https", "http"), {setting: value})
    assert caught.value.field == f"probe.{setting}"


@pytest.mark.parametrize(
    ("host", "settings", "field"),
    [
        ("[::1]", {"ip_family": "4"}, "probe.ip_family"),
        ("192.0.2.1", {"ip_family": "6"}, "probe.ip_family"),
        ("192.0.2.1", {"source_address": "fe80::1%eth0"}, "probe.source_address"),
        ("[::1]", {"ip_family": "4", "proxy": "http://192.0.2.1:3128"}, None),  # it is the proxy that is connected to
        ("192.0.2.1", {"ip_family": "4", "proxy": "http://[::1]:3128"}, "probe.ip_family"),
        ("[::1]", {"ip_family": "6", "source_address": "fe80::1%eth0"}, None),
    ],
)
def test_an_address_of_another_family_than_the_wanted_one_is_refused(
    host: str, settings: dict[str, Any], field: str | None
) -> None:
    if field is None:
        assert probe_for(VimType.OPENSTACK, f"https://{host}:5000", settings)
        return
    with pytest.raises(InvalidInput) as caught:
        probe_for(VimType.OPENSTACK, f"https://{host}:5000", settings)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("given", "kept"),
    [(200, "200"), ("200", "200"), (" 200, 300-399 ", "200,300-399"), ([200, "300 - 399"], "200,300-399")],
)
def test_expected_status_codes_are_kept_in_one_way_however_they_are_said(given: object, kept: str) -> None:
    probe = probe_for(VimType.GENERIC, URL, {"kind": "http", "expect_status": given})
    assert isinstance(probe, HttpProbe)
    assert (probe.preset, probe.expect_status) == (HttpPreset.PLAIN, kept)


def test_to_expect_something_is_to_choose_the_plain_preset_whatever_the_type() -> None:
    assert probe_for(VimType.OPENSTACK, URL, {"expect_text": "ok"}).settings()["preset"] == "plain"


def test_what_says_nothing_is_not_stored_and_none_takes_a_setting_back() -> None:
    plain = probe_for(VimType.OPENSTACK, URL)
    assert set(plain.settings()) == {
        "kind", "preset", "interval_s", "confirm_interval_s", "timeout_s", "rise", "fall"
    }  # fmt: skip
    chosen = {"ip_family": 6, "verify": False, "server_name": "k", "fall": 7}
    stored = probe_for(VimType.OPENSTACK, URL, chosen).settings()
    assert {name: stored[name] for name in chosen} == chosen | {"ip_family": "6"}
    assert probe_for(VimType.OPENSTACK, URL, stored | dict.fromkeys(chosen)) == plain


@pytest.mark.parametrize("name", ["2001:db8::1", "192.0.2.1", "vim", LONGEST_NAME])
def test_a_server_name_is_a_name_or_an_address(name: str) -> None:
    assert probe_for(VimType.OPENSTACK, URL, {"server_name": name}).settings()["server_name"] == name


def test_very_many_status_codes_may_be_expected() -> None:
    codes = ",".join(["200"] * 250)
    assert probe_for(VimType.OPENSTACK, URL, {"expect_status": codes}).settings()["expect_status"] == codes


def test_a_setting_that_is_none_is_one_that_is_not_there() -> None:
    given = {"kind": "http", "auth_url": URL, "preset": "plain"}
    settings = ("source_address", "expect_status", "expect_text", "ca_file", "client_cert_file", "client_key_file")
    assert parse_probe(given | dict.fromkeys((*settings, "server_name", "proxy"))) == parse_probe(given)


def test_a_probe_stored_before_there_were_these_settings_is_read_as_before() -> None:
    stored = {"kind": "http", "preset": "keystone", "interval_s": 30.0, "confirm_interval_s": 2.0, "timeout_s": 5.0}
    probe = probe_for(VimType.OPENSTACK, URL, stored | {"rise": 2, "fall": 3})
    assert probe == HttpProbe(auth_url=URL, preset=HttpPreset.KEYSTONE)
    assert isinstance(probe, HttpProbe)
    assert (probe.verify, probe.ip_family, probe.proxy) == (True, IpFamily.AUTO, None)
