"""The system that a command works with."""

from pathlib import Path

import psycopg
import pytest

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
