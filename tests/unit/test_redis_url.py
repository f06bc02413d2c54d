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
        "redis://h:1/0?socket_timeout=s3cr3t",
        "http://h",
        "",
        "h:6379",
        "redis+sentinel://a:1",
        "redis+sentinel:///m",
        "redis+sentinel://a:x/m",
        "redis+sentinel://a/m/x",
    ],
)
def test_anything_else_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="VIMMON_REDIS_URL") as caught:
        parse_redis_url(url)
    assert caught.value.remedy.startswith("Write it like")
