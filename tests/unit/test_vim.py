"""Which names and auth_urls a VIM may have, and what target an auth_url names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vimmon.errors import InvalidInput
from vimmon.vim import AUTH_URL_MAX, NAME_MAX, Frozen, Target, check_name, parse_auth_url


@pytest.mark.parametrize(
    ("auth_url", "target"),
    [
        ("http://keystone", Target("http", "keystone", 80, "")),
        ("https://keystone.example.org", Target("https", "keystone.example.org", 443, "")),
        ("https://keystone.example.org:5000/v3", Target("https", "keystone.example.org", 5000, "/v3")),
        ("HTTP://Keystone.Example:5000/V3", Target("http", "keystone.example", 5000, "/V3")),
        ("http://keystone.:5000/", Target("http", "keystone.", 5000, "/")),
        ("http://a_name.example/identity/v3/", Target("http", "a_name.example", 80, "/identity/v3/")),
        ("http://192.0.2.1", Target("http", "192.0.2.1", 80, "")),
        ("https://192.0.2.1:6443/k8s/clusters/c-1", Target("https", "192.0.2.1", 6443, "/k8s/clusters/c-1")),
        ("http://[2001:db8::1]", Target("http", "2001:db8::1", 80, "")),
        ("http://[2001:db8::1]:5000", Target("http", "2001:db8::1", 5000, "")),
        ("https://[2001:DB8::1]:5000/v3/", Target("https", "2001:db8::1", 5000, "/v3/")),
        ("http://[::ffff:192.0.2.1]:5000", Target("http", "::ffff:192.0.2.1", 5000, "")),
        ("http://[fe80::1%25eth0]:5000/v3", Target("http", "fe80::1%eth0", 5000, "/v3")),
        ("http://[fe80::1%eth0]", Target("http", "fe80::1%eth0", 80, "")),
        ("http://h/a;b%2Fc//d/../e@f", Target("http", "h", 80, "/a;b%2Fc//d/../e@f")),
    ],
)
def test_an_auth_url_names_a_target(auth_url: str, target: Target) -> None:
    assert parse_auth_url(auth_url) == target


@pytest.mark.parametrize(
    ("auth_url", "problem"),
    [
        ("", "does not begin with http"),
        ("keystone:5000", "does not begin with http"),
        ("ftp://keystone", "does not begin with http"),
        ("//keystone", "does not begin with http"),
        ("http://", "names no host"),
        ("http:///v3", "names no host"),
        ("http://:5000", "names no host"),
        ("http://key stone", "a space"),
        ("http://keystone\n", "a space"),
        ("http://keystone/\x7f", "printable ASCII"),
        ("http://schlüssel", "printable ASCII"),
        ("http://keystone\\v3", "a backslash"),
        ("http://keystone?x=1", "a query"),
        ("http://keystone/?", "a query"),
        ("http://keystone#", "a fragment"),
        ("http://keystone:", "port is missing"),
        ("http://keystone:0", "port is missing or 0"),
        ("http://keystone:65536", "bad port"),
        ("http://keystone:5_0", "bad port"),
        ("http://keystone:-1", "bad port"),
        ("http://2001:db8::1", "without brackets"),
        ("http://2001:db8::1:5000/v3", "without brackets"),
        ("http://[2001:db8::1", "bad host"),
        ("http://[192.0.2.1]", "bad host"),
        ("http://[v1.x]", "neither a name nor an IP address"),
        ("http://[fe80::1%25]", "neither a name nor an IP address"),
        ("http://[fe80::1%25[eth0]", "neither a name nor an IP address"),
        ("http://[::1]5000", "follows its IPv6 address|bad host"),  # newer Pythons say so themselves
        ("http://[::1]x:5000", "follows its IPv6 address|bad host"),
        ("http://192.0.2", "neither a name nor an IP address"),
        ("http://192.0.2.256", "neither a name nor an IP address"),
        ("http://a..b", "neither a name nor an IP address"),
        ("http://-a", "neither a name nor an IP address"),
        ("http://a-.b", "neither a name nor an IP address"),
        ("http://" + "a" * 64, "neither a name nor an IP address"),
        ("http://" + "a." * 127 + "a", "neither a name nor an IP address"),
        ("http://h/" + "a" * AUTH_URL_MAX, "characters"),
    ],
)
def test_an_auth_url_that_cannot_be_probed_is_refused_with_a_remedy(auth_url: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        parse_auth_url(auth_url)
    assert caught.value.field == "auth_url"
    assert caught.value.remedy


@pytest.mark.parametrize("after", ["keystone:5000/v3", "keystone:bad", "[::1", "[::1]:5000", "", "keystone?a=b"])
@pytest.mark.parametrize("before", ["admin:hunter2@", "hunter2@", ":hunter2@", "a@b:hunter2@"])
def test_a_password_in_an_auth_url_is_refused_and_never_repeated(before: str, after: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_auth_url(f"https://{before}{after}")
    assert "hunter2" not in str(caught.value) + caught.value.remedy
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text() | st.text().map(lambda text: f"http://{text}") | st.text().map(lambda text: f"https://[{text}"))
def test_any_text_is_either_a_target_or_refused(text: str) -> None:
    try:
        target = parse_auth_url(text)
    except InvalidInput:
        return
    assert target.host
    assert 0 < target.port < 65536
    assert target.path == "" or target.path.startswith("/")


@pytest.mark.parametrize("name", ["tokyo", "Ōsaka 1", "x" * NAME_MAX, "2f6d8d5e"])
def test_a_printable_name_is_kept(name: str) -> None:
    assert check_name(f"  {name} ") == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        ("  \t", "empty"),
        ("x" * (NAME_MAX + 1), "256 characters"),
        ("a\nb", "control character"),
        ("a\x1b[31m", "control character"),
        ("2f6d8d5e-0c5b-4b0e-9d8e-0a4f5d6c7b8a", "looks like a VIM's id"),
        ("2F6D8D5E-0C5B-4B0E-9D8E-0A4F5D6C7B8A", "looks like a VIM's id"),
    ],
)
def test_a_name_that_would_confuse_is_refused_with_a_remedy(name: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        check_name(name)
    assert caught.value.field == "name"
    assert caught.value.remedy


def test_a_value_cannot_be_changed_and_refuses_unknown_fields() -> None:
    class Point(Frozen):
        x: int

    point = Point(x=1)
    with pytest.raises(ValidationError):
        setattr(point, "x", 2)  # noqa: B010 - mypy knows already that it cannot be
    with pytest.raises(ValidationError):
        Point.model_validate({"x": 1, "y": 2})
