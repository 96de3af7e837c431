"""What `callbox check` finds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deploy import checks
from deploy.checks import Finding, check, first_line
from shared.config import Config
from shared.inbox import RedisUnavailable, Server
from shared.settings import Settings
from shared.source import Source

SECRET = "a-secret-of-a-source-that-is-long"
PROMISED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "maxmemory": "1"}


def found(source: Source, level: str) -> list[str]:
    configuration = Config(Path("callbox.toml"), Settings(), {source.name: source})
    return [finding.sentence for finding in check(configuration) if finding.level == level and "source" in finding.what]


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither server is asked."""
    for name in ("_check_redis", "_check_postgres"):
        monkeypatch.setattr(checks, name, lambda url: iter(()))


@pytest.mark.usefixtures("servers")
def test_a_source_is_good_by_its_proofs_which_are_not_shown() -> None:
    source = Source("fleet", "emnify", secrets=(SECRET,), token="a-token-of-a-source-that-is-long")
    assert found(source, "good") == ["emnify, proven by secrets and token"]
    assert found(source, "risky") == []


@pytest.mark.usefixtures("servers")
def test_what_is_easy_to_guess_or_proves_nothing_is_risky() -> None:
    short = found(Source("fleet", "emnify", secrets=(SECRET, "short"), token="brief"), "risky")
    assert [sentence.partition(";")[0] for sentence in short] == ["secret 2 has 5 bytes", "the token has 5 characters"]
    assert "short" not in "".join(short)
    assert found(Source("fleet", "emnify", unsigned=True), "risky") == [
        "accepts anyone's callbacks (`unsigned = true`)"
    ]


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ('"a secret of more than 16 bytes"', "secret 1 has quotation marks around it"),
        ("$EMNIFY_API_SECRET", "secret 1 looks like a variable"),
    ],
)
def test_a_secret_that_is_not_what_was_meant_is_risky_and_not_shown(secret: str, says: str) -> None:
    (sentence,) = found(Source("fleet", "emnify", secrets=(secret,)), "risky")
    assert sentence.startswith(says)
    assert secret.strip('"$') not in sentence


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("mode", "literal", "is_risky"), [(0o644, "fleet", True), (0o600, "fleet", False), (0o644, "", False)]
)
def test_a_file_with_secrets_that_others_may_read_is_risky(
    tmp_path: Path, mode: int, literal: str, is_risky: bool
) -> None:
    path = tmp_path / "callbox.toml"
    path.touch(mode)
    path.chmod(mode)
    configuration = Config(path, Settings(), {}, literal=frozenset(literal.split()))
    risky = [finding.sentence for finding in checks.check(configuration) if finding.level == "risky"]
    assert bool(risky) is is_risky


def redis_findings(monkeypatch: pytest.MonkeyPatch, server: Server | RedisUnavailable) -> list[Finding]:
    @contextmanager
    def connected(url: str) -> Iterator[Any]:
        yield url

    def read(client: Any) -> Server:
        if isinstance(server, RedisUnavailable):
            raise server
        return server

    monkeypatch.setattr(checks, "open_inbox", connected)
    monkeypatch.setattr(checks, "read_server", read)
    monkeypatch.setattr(checks, "_check_postgres", lambda url: iter(()))
    return list(check(Config(Path("callbox.toml"), Settings(), {})))


def test_a_redis_that_keeps_the_promises_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = redis_findings(monkeypatch, Server("8.1.0", 1, PROMISED))
    assert finding.level == "good"


@pytest.mark.parametrize(
    ("setting", "value"), [("appendonly", "no"), ("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru")]
)
def test_a_redis_with_a_setting_that_loses_callbacks_is_wrong(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    (finding,) = redis_findings(monkeypatch, Server("8.1.0", 1, {**PROMISED, setting: value}))
    assert (finding.level, finding.what) == ("wrong", "Redis")
    assert f"{setting} is {value}" in finding.sentence
    assert f"set it to {PROMISED[setting]}" in finding.sentence


def test_an_old_a_closed_and_a_silent_redis_and_one_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def levels(server: Server | RedisUnavailable) -> list[str]:
        return [finding.level for finding in redis_findings(monkeypatch, server)]

    assert levels(Server("6.2.1", 1, PROMISED)) == ["wrong"]
    assert levels(Server("8.1.0", 1, None)) == ["risky"]
    assert levels(Server("8.1.0", 0, PROMISED)) == ["risky", "good"]
    assert levels(RedisUnavailable("Redis does not answer")) == ["wrong"]


def test_a_postgresql_that_does_not_answer_is_wrong_and_says_where_to_look() -> None:
    (finding,) = checks._check_postgres("postgresql://127.0.0.1:1/callbox")
    assert (finding.level, finding.what) == ("wrong", "PostgreSQL")
    assert "CALLBOX_DATABASE_URL" in finding.sentence


def test_a_migrated_postgresql_is_good_and_an_empty_one_wrong(database_url: str, empty_database_url: str) -> None:
    assert [finding.level for finding in checks._check_postgres(database_url)] == ["good"]
    assert [finding.sentence for finding in checks._check_postgres(empty_database_url)] == [
        "is not migrated: run `callbox migrate`"
    ]


def test_of_an_error_of_libpq_the_first_line_is_shown() -> None:
    error = psycopg.OperationalError("connection failed: refused\n\tIs the server running?")
    assert first_line(error) == "connection failed: refused"
