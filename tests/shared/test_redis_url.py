"""The URLs of Redis, and what is said about one that cannot work: never a piece of it that may be a password."""

import re

import pytest

from shared.redis_url import RedisURL, parse_redis_url, parse_redis_urls

PASSWORD = "s3cret-s3cret"


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("redis://host", RedisURL((("host", 6379),))),
        ("redis:///3", RedisURL((("localhost", 6379),), database=3)),
        ("redis://me:p%40ss@[::1]:7/2", RedisURL((("::1", 7),), database=2, username="me", password="p@ss")),
        ("redis://:pw@host/?db=4", RedisURL((("host", 6379),), database=4, password="pw")),
        (
            "rediss://host?ssl_ca_certs=%2Fca.pem&ssl_check_hostname=false",
            RedisURL((("host", 6379),), is_tls=True, tls={"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": "false"}),
        ),
        ("unix:///run/redis.sock?db=1", RedisURL((), path="/run/redis.sock", database=1)),
        ("unix://:pw@/run/redis.sock", RedisURL((), path="/run/redis.sock", password="pw")),
        ("redis+sentinel://a,b:7/mymaster", RedisURL((("a", 26379), ("b", 7)), master="mymaster")),
        (
            "rediss+sentinel://me:pw@a/mymaster/5?sentinel_username=s&sentinel_password=t",
            RedisURL(
                (("a", 26379),),
                master="mymaster",
                database=5,
                username="me",
                password="pw",
                is_tls=True,
                sentinel_username="s",
                sentinel_password="t",
            ),
        ),
        (
            "redis+sentinel://:a+b@a/m?sentinel_password=c%2Bd+e",
            RedisURL((("a", 26379),), master="m", password="a+b", sentinel_password="c+d+e"),
        ),
        ("redis+cluster://a:1,[::2]:3", RedisURL((("a", 1), ("::2", 3)), is_cluster=True)),
        ("rediss+cluster://:pw@a:1/0", RedisURL((("a", 1),), is_cluster=True, password="pw", is_tls=True)),
    ],
)
def test_each_way_to_name_a_redis(text: str, parsed: RedisURL) -> None:
    assert parse_redis_url(text) == parsed
    assert PASSWORD not in repr(parse_redis_url(text.replace("pw@", f"{PASSWORD}@")))


def test_several_urls_are_shards() -> None:
    assert [url.hosts[0][0] for url in parse_redis_urls(" redis://a  redis+cluster://b:1,c:2 ")] == ["a", "b"]


def test_where_one_is_for_people() -> None:
    assert parse_redis_url(f"redis+cluster://:{PASSWORD}@a:1,[::2]:3").place == "a:1,[::2]:3"
    assert parse_redis_url(f"unix://:{PASSWORD}@/run/redis.sock").place == "/run/redis.sock"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"http://:{PASSWORD}@host", "must begin with one of redis://, rediss://, unix://, redis+sentinel://"),
        (f"redis://:{PASSWORD}@a,b", "names several hosts"),
        (f"redis://:{PASSWORD}@a:x", "is not a URL"),
        (f"redis://:{PASSWORD}@a:99999", "is not a URL"),
        (f"redis://:{PASSWORD}@a..b", "is not a URL"),
        (f"redis+sentinel://:{PASSWORD}@{'a' * 64}/m", "is not a URL"),
        (f"redis://:{PASSWORD}@a@b", "is not a URL"),
        (f"redis://:{PASSWORD}/x@a", "is not a URL"),
        (f"redis://:{PASSWORD}?x@a", "is not a URL"),
        (f"redis://:{PASSWORD}#x@a", "is not a URL"),
        (f"redis://:{PASSWORD}@a/b", "has a database that is not a number"),
        (f"redis://:{PASSWORD}@a?timeout={PASSWORD}", "has a parameter that redis:// does not know; it knows db"),
        (f"redis://:{PASSWORD}@a?ssl_ca_certs=x", "has a parameter that redis:// does not know"),
        (f"redis://:{PASSWORD}@a?{PASSWORD}", "has parameters that are not NAME=VALUE"),
        (f"rediss://:{PASSWORD}@a?ssl_cert_reqs={PASSWORD}", "ssl_cert_reqs that is not none, optional or required"),
        (f"rediss://:{PASSWORD}@a?ssl_check_hostname=1", "ssl_check_hostname that is not true or false"),
        (f"redis+sentinel://:{PASSWORD}@a,b", "must end in the name by which Sentinels know the primary"),
        (f"redis+sentinel://:{PASSWORD}@a,,b/x", "has a host (number 2) without a name"),
        (f"redis+sentinel://:{PASSWORD}@a/x/y", "has a database that is not a number"),
        (f"redis+cluster://:{PASSWORD}@a/1", "a Cluster has only the database 0"),
        (f"redis+cluster://:{PASSWORD}@", "has a host (number 1) without a name"),
        (f"unix://:{PASSWORD}@socket", "must name the whole path of a socket"),
        ("", "must begin with one of"),
    ],
)
def test_what_cannot_work_is_named_and_nothing_of_it_shown(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as raised:
        parse_redis_urls(text)
    assert PASSWORD not in str(raised.value)
