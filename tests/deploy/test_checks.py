"""What `callbox check` finds."""

from pathlib import Path

import pytest

from deploy import checks
from deploy.checks import Finding, check
from shared.config import Config
from shared.demands import Examined
from shared.fingerprint import secret_labels
from shared.settings import Settings
from shared.source import Source

SECRET = "a-secret-of-a-source-that-is-long"


def found(source: Source, level: str) -> list[str]:
    configuration = Config(Path("callbox.toml"), Settings(), {source.name: source})
    return [finding.sentence for finding in check(configuration) if finding.level == level and "source" in finding.what]


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server is asked, and no spool."""
    for name in ("_check_redis", "_check_postgres", "_check_spool"):
        monkeypatch.setattr(checks, name, lambda where: iter(()))


@pytest.mark.usefixtures("servers")
def test_a_source_is_good_by_its_proofs_which_are_not_shown() -> None:
    source = Source("fleet", "emnify", secrets=(SECRET,), token="a-token-of-a-source-that-is-long")
    (name,) = secret_labels(source)
    assert found(source, "good") == [f"emnify, proven by {name}, token"]
    assert found(source, "risky") == []


@pytest.mark.usefixtures("servers")
def test_the_first_line_names_the_file_that_was_read() -> None:
    sources = {name: Source(name, "emnify", secrets=(SECRET,)) for name in ("fleet", "otp")}
    first = next(check(Config(Path("demo/callbox.toml"), Settings(), sources)))
    assert first == Finding("good", "demo/callbox.toml", "2 sources")


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("address", "is_risky"),
    [
        ("0.0.0.0:8001", True),
        ("[::]:8001", True),
        ("8.8.8.8:8001", True),
        ("127.0.0.1:8001", False),
        ("10.0.0.7:8001", False),
        ("admin.internal:8001", False),
        ("", False),
    ],
)
def test_an_admin_address_that_the_world_may_reach_is_risky(address: str, is_risky: bool) -> None:
    configuration = Config(Path("callbox.toml"), Settings(admin_bind=address), {})
    found = [finding.level for finding in check(configuration) if finding.what == "CALLBOX_ADMIN_BIND"]
    assert found == (["risky"] if is_risky else [])


@pytest.mark.usefixtures("servers")
def test_the_secrets_of_a_rotation_are_named_the_newest_first() -> None:
    source = Source("fleet", "emnify", secrets=(SECRET, "short"))
    newest, older = secret_labels(source)
    assert found(source, "good") == [f"emnify, proven by {newest}, {older} (older)"]


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


@pytest.mark.usefixtures("servers")
def test_an_env_file_that_others_may_read_or_that_holds_a_setting_is_risky(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET=1\nCALLBOX_REDIS_URL=redis://x\n")
    (tmp_path / ".env").chmod(0o644)
    configuration = Config(tmp_path / "callbox.toml", Settings(), {}, frozenset({"SECRET"}))

    def risky() -> list[str]:
        return [finding.sentence for finding in check(configuration) if finding.level == "risky"]

    idle = "CALLBOX_REDIS_URL has no effect here: settings are read from the environment only"
    assert risky() == ["holds secrets and others may read it: chmod 600", idle]
    (tmp_path / ".env").chmod(0o600)
    assert risky() == [idle]


def test_a_server_is_wrong_risky_or_good_and_says_all_that_was_found() -> None:
    unmet = checks._findings("Redis", Examined("8.1.0", ["forgets"], ["is large"]), "on disk")
    assert list(unmet) == [Finding("wrong", "Redis", "forgets"), Finding("risky", "Redis", "is large")]
    (good,) = checks._findings("Redis", Examined("8.1.0"), "on disk")
    assert good == Finding("good", "Redis", "8.1.0, on disk")


def test_a_redis_is_tried(redis_url: str) -> None:
    (finding,) = checks._check_redis(Settings(redis_url=redis_url))
    assert (finding.level, "no maxmemory" in finding.sentence) == ("risky", True)
    (finding,) = checks._check_redis(Settings(redis_url="redis://127.0.0.1:1/0"))
    assert (finding.level, "CALLBOX_REDIS_URL" in finding.sentence) == ("wrong", True)


def test_celery_s_own_redis_is_tried(redis_url: str) -> None:
    assert list(checks._check_broker(Settings(broker_url=redis_url))) == []
    (finding,) = checks._check_broker(Settings(broker_url="redis://127.0.0.1:1/0"))
    assert (finding.level, "CALLBOX_BROKER_URL" in finding.sentence) == ("wrong", True)


def test_a_spool_is_tried_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    (finding,) = checks._check_spool(tmp_path / "new" / "spool")
    assert (finding.level, finding.what) == ("good", "spool")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "kept").mkdir()
    (finding,) = checks._check_spool(tmp_path / "kept")
    assert (finding.level, list((tmp_path / "kept").iterdir())) == ("good", [])


def test_a_spool_where_nothing_can_be_written_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (finding,) = checks._check_spool(tmp_path / "file")
    assert (finding.level, "CALLBOX_SPOOL_DIR" in finding.sentence) == ("wrong", True)
    (finding,) = checks._check_spool(Path("/proc/spool"))
    assert finding.level == "wrong"


def test_a_postgresql_that_does_not_answer_is_wrong_and_says_where_to_look() -> None:
    (finding,) = checks._check_postgres("postgresql://127.0.0.1:1/callbox")
    assert (finding.level, finding.what) == ("wrong", "PostgreSQL")
    assert "CALLBOX_DATABASE_URL" in finding.sentence


def test_a_migrated_postgresql_is_good_and_an_empty_one_wrong(database_url: str, empty_database_url: str) -> None:
    assert [finding.level for finding in checks._check_postgres(database_url)] == ["good"]
    assert [finding.sentence for finding in checks._check_postgres(empty_database_url)] == [
        "is not migrated: run `callbox migrate`"
    ]
