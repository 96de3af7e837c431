"""The system that a command works with."""

import errno
from pathlib import Path

import psycopg
import pytest

from deploy.local.files import write_addresses
from deploy.system import System
from shared import inbox
from shared.config import ConfigError

AWAY = {"CALLBOX_REDIS_URL": "redis://127.0.0.1:1/0", "CALLBOX_DATABASE_URL": "postgresql://127.0.0.1:1/x"}


def test_a_wrong_environment_is_reported_when_it_is_needed() -> None:
    system = System({"CALLBOX_BATCH_COUNT": "many"})
    for use in (system.inbox, system.queries, system.configuration):
        with pytest.raises(ConfigError, match="CALLBOX_BATCH_COUNT: 'many'"):
            use()


def test_the_configuration_is_the_given_file_else_that_of_the_environment(folder: Path) -> None:
    for name in ("given", "named"):
        (folder / f"{name}.toml").write_text(f'[sources.{name}]\nprovider = "emnify"\nunsigned = true\n')
    environ = {"CALLBOX_CONFIG": "named.toml"}
    assert list(System(environ).configuration().sources) == ["named"]
    assert list(System(environ, Path("given.toml")).configuration().sources) == ["given"]


def test_servers_that_are_away_raise_what_a_command_can_explain() -> None:
    system = System(AWAY)
    with system.inbox() as found, pytest.raises(inbox.RedisUnavailable):
        found.ping()
    with pytest.raises(psycopg.OperationalError):
        system.queries()
    with pytest.raises(psycopg.OperationalError), system.database():
        pass


def test_servers_that_are_there_are_used(redis_url: str, database_url: str) -> None:
    system = System({"CALLBOX_REDIS_URL": redis_url, "CALLBOX_DATABASE_URL": database_url})
    with system.inbox() as found:
        found.ping()
    with system.queries() as queries:
        assert queries.dead_letters(limit=1) == []
    with system.database() as database:
        database.check()


def test_an_empty_variable_does_not_hide_the_running_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_addresses(folder, {"CALLBOX_REDIS_URL": "redis://127.0.0.1:7", "CALLBOX_DATABASE_URL": "postgresql://up/x"})
    monkeypatch.setenv("CALLBOX_REDIS_URL", "")
    monkeypatch.setenv("CALLBOX_DATABASE_URL", "postgresql://own/x")
    settings = System.find(folder).settings
    assert (settings.redis_url, settings.database_url) == ("redis://127.0.0.1:7", "postgresql://own/x")


def test_a_folder_that_may_not_be_read_is_an_error_unless_the_environment_names_servers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "var/env")

    monkeypatch.setattr("deploy.system.read_addresses", refuse)
    monkeypatch.delenv("CALLBOX_REDIS_URL", raising=False)
    monkeypatch.delenv("CALLBOX_DATABASE_URL", raising=False)
    with pytest.raises(PermissionError):
        System.find(folder)
    monkeypatch.setenv("CALLBOX_REDIS_URL", "redis://127.0.0.1:7")
    assert System.find(folder).settings.redis_url == "redis://127.0.0.1:7"
