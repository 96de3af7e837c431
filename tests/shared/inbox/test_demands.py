"""What is found about a Redis that is not what Callbox needs: tried on real servers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from shared import demands, inbox
from shared.demands import Watch
from shared.inbox import RedisUnavailable, examine
from tests.own_redis import own_redis

Client = inbox.Shard


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with own_redis(tmp_path_factory.mktemp("redis")) as client:
        yield client


def as_user(client: Client, *rules: str, user: str = "tried") -> Client:
    """A client of a user who may do this."""
    run: Any = client.execute_command
    run("ACL", "SETUSER", user, "reset", "on", ">pw", *rules)
    return inbox.connect(f"redis://{user}:pw@127.0.0.1:{client.url.hosts[0][1]}/0", 5.0)


def test_production_s_settings_are_met_and_the_trial_leaves_nothing(server: Client) -> None:
    examined = examine([server])
    assert (list(examined.unmet), list(examined.risks)) == ([], ["has no maxmemory: " + WHY_MAXMEMORY])
    assert server.keys() == []


WHY_MAXMEMORY = "a long backlog may take all the memory of its host"


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("appendonly", "no", "yes"),
        ("appendfsync", "everysec", "always"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
def test_a_setting_that_loses_callbacks_is_named_with_the_right_value(
    server: Client, name: str, value: str, kept: str
) -> None:
    server.config_set(name, value)
    try:
        (sentence,) = examine([server]).unmet
    finally:
        server.config_set(name, kept)
    assert f"{name} is {value}" in sentence
    assert f"set it to {kept}" in sentence


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (("~*", "+@all", "-eval", "-evalsha"), "may not run EVAL"),
        (("~*", "+@all", "-xreadgroup"), "may not run XREADGROUP"),
        (("~*", "+@all", "-info"), "may not run INFO"),
        (("~other:*", "+@all"), "may not do what Callbox does"),
        (("~*", "+@read"), "may not run"),
    ],
)
def test_what_its_user_may_not_do_is_named(server: Client, rules: tuple[str, ...], says: str) -> None:
    with as_user(server, *rules) as client:
        (sentence,) = examine([client]).unmet
    assert says in sentence
    assert "ACL SETUSER" in sentence
    assert "tried" not in sentence


def test_a_user_without_config_is_a_risk_unless_nothing_is_on_disk(server: Client) -> None:
    with as_user(server, "~*", "+@all", "-config") as client:
        examined = examine([client])
        assert examined.unmet == []
        assert "CONFIG is closed" in examined.risks[0]
        server.config_set("appendonly", "no")
        try:
            assert "has no append-only file" in examine([client]).unmet[0]
        finally:
            server.config_set("appendonly", "yes")


@pytest.mark.parametrize("rules", [("off", "-@all"), ("resetkeys", "~other:*"), ("-xdel",), ("-hincrby",)])
def test_a_default_user_with_which_a_restart_loses_callbacks_is_named(server: Client, rules: tuple[str, ...]) -> None:
    with as_user(server, *inbox.demands.RULES.split()) as client, as_user(server, "+@all", user="admin") as admin:
        run: Any = admin.execute_command
        run("ACL", "SETUSER", "default", *rules)
        try:
            (sentence,) = examine([client]).unmet
            run("ACL", "SETUSER", "default", "off", "~*", "+@all")
            assert examine([client]).unmet == []
        finally:
            run("ACL", "SETUSER", "default", "on", "~*", "+@all")
    assert "may lose acknowledged callbacks in a restart" in sentence


def test_a_default_user_of_whom_nothing_is_shown_is_a_risk(server: Client) -> None:
    with as_user(server, *inbox.demands.RULES.replace("+acl|dryrun ", "").split()) as client:
        examined = examine([client])
    assert examined.unmet == []
    assert any("ACL DRYRUN is closed" in risk for risk in examined.risks)


def test_a_user_with_the_rules_that_are_proposed_is_met(server: Client) -> None:
    with as_user(server, *inbox.demands.RULES.split()) as client:
        assert examine([client]).unmet == []


def test_a_node_of_a_cluster(tmp_path: Path) -> None:
    with own_redis(tmp_path, "cluster-enabled yes") as client:
        (sentence,) = examine([client]).unmet
    assert "is a node of a Cluster" in sentence


def test_a_replica(server: Client, tmp_path: Path) -> None:
    with own_redis(tmp_path, f"replicaof 127.0.0.1 {server.url.hosts[0][1]}", "masterauth pw") as client:
        (sentence,) = examine([client]).unmet
    assert "name its primary" in sentence


def test_one_that_is_full_is_met(server: Client) -> None:
    server.config_set("maxmemory", "1mb")
    try:
        assert examine([server]).unmet == []
    finally:
        server.config_set("maxmemory", "0")


def test_one_that_is_away_is_not_examined() -> None:
    with inbox.connect("redis://127.0.0.1:1/0", 1.0) as client, pytest.raises(RedisUnavailable):
        examine([client])


def test_one_that_goes_away_while_it_is_examined_is_away_too(server: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> None:
        raise redis.exceptions.ConnectionError

    monkeypatch.setattr(server, "hget", gone)
    with pytest.raises(RedisUnavailable):
        examine([server])


def test_a_watch_says_once_what_is_unmet_and_once_that_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[Any, ...]] = []

    class Log:
        def error(self, event: str, **of: Any) -> None:
            said.append((event, *of.values()))

        info = error

    monkeypatch.setattr(demands, "log", Log())
    watch = Watch()
    for unmet in ([], ["forgets"], ["forgets"], ["forgets", "lies"], [], []):
        watch.note("redis", unmet)
    kept = "a promise cannot be kept"
    assert said == [
        (kept, "redis", "forgets"),
        (kept, "redis", "lies"),
        ("every promise can be kept again", "redis"),
    ]
    assert watch.unmet == {"redis": []}
