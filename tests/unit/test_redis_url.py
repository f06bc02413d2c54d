"""What VIMMON_REDIS_URL may say."""

import pytest

from vimmon.errors import SettingsError
from vimmon.redis_url import SentinelPlace, parse_redis_url


@pytest.mark.parametrize("url", ["redis://h:6379/0", "rediss://u:p@h/1", "unix:///run/redis.sock"])
def test_one_redis_is_named_by_its_own_url(url: str) -> None:
    assert parse_redis_url(url) == url


def test_sentinels_are_named_with_their_service() -> None:
    place = parse_redis_url("redis+sentinel://ops:p%40ss@a:1,[::1]:2,c/mymaster/3")
    assert place == SentinelPlace((("a", 1), ("::1", 2), ("c", 26379)), "mymaster", 3, "ops", "p@ss")


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:s3cr3t/0",
        "redis://h:1/0?health_check_interval=s3cr3t",
        "redis://u:1/s3cr3t@h",
        "redis://u:1#s3cr3t@h",
        "redis://u:1?s3cr3t@h",
        "redis://[s3cr3t",
        "rediss+sentinel://[s3cr3t/m",
        "redis://h?db=",
        "http://h",
        "",
        "h:6379",
        "redis+sentinel://a:1",
        "redis+sentinel:///m",
        "redis+sentinel://a:x/m",
        "redis+sentinel://a/m/x",
        "redis+sentinel://u:1/s3cr3t@a",
    ],
)
def test_anything_else_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="VIMMON_REDIS_URL") as caught:
        parse_redis_url(url)
    assert caught.value.remedy.startswith("Write it like")
    assert "s3cr3t" not in f"{caught.value}{caught.value.remedy}"


@pytest.mark.parametrize("option", ["socket_timeout=1", "ssl_cert_reqs=none", "connection_class=x", "s3cr3t=1@h"])
@pytest.mark.parametrize("place", ["rediss://u:p", "rediss+sentinel://u:p@h/m"])
def test_an_option_that_vimmon_sets_itself_is_refused(place: str, option: str) -> None:
    with pytest.raises(SettingsError, match="unknown option") as caught:
        parse_redis_url(f"{place}?{option}")
    assert "s3cr3t" not in f"{caught.value}{caught.value.remedy}"


def test_sentinels_and_the_redis_that_they_name_are_asked_on_tls() -> None:
    place = parse_redis_url("rediss+sentinel://a/m?ssl_check_hostname=false")
    assert isinstance(place, SentinelPlace)
    assert place.tls == {"ssl": True, "ssl_check_hostname": False}
    assert place.options().items() > place.tls.items()
    with pytest.raises(SettingsError, match="cannot be read"):
        parse_redis_url("redis+sentinel://a/m?x")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://h?protocol=4", "its protocol is neither 2 nor 3"),
        ("redis://h?ssl_ca_certs=/dev/null", "ssl_ca_certs without TLS"),
        ("unix:///run/redis.sock?ssl_certfile=/dev/null", "ssl_certfile without TLS"),
        ("rediss://h?ssl_ca_certs=/nowhere.pem", "ssl_ca_certs: No such file or directory"),
        ("rediss://h?ssl_ca_certs=a%00b", "ssl_ca_certs: not the name of a file"),
        ("rediss://h?ssl_ca_path=/dev/null", "ssl_ca_path: Not a directory"),
        ("rediss://h?ssl_ca_certs=/dev/null", "ssl_ca_certs: no certificate in it"),
        ("rediss://h?ssl_keyfile=/dev/null", "ssl_keyfile without ssl_certfile"),
        ("rediss://h?ssl_certfile=/dev/null", "ssl_certfile, ssl_keyfile: they do not fit together"),
        ("rediss+sentinel://h/m?ssl_ca_certs=/nowhere.pem", "ssl_ca_certs: No such file or directory"),
    ],
)
def test_what_an_option_says_is_looked_at_before_anything_is_connected(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        parse_redis_url(url)


@pytest.mark.parametrize("authority", ["u:s3cr3t[@a", "u:s3cr3t]@a,b", "a,[::1:2"])
def test_half_of_a_pair_of_brackets_is_refused(authority: str) -> None:
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        parse_redis_url(f"redis+sentinel://{authority}/m")
    assert "s3cr3t" not in f"{caught.value}{caught.value.remedy}"
