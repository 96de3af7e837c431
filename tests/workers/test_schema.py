from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from workers import schema


def test_migrations_are_numbered_without_gap_or_double() -> None:
    assert [migration.number for migration in schema.migrations()] == list(range(1, len(schema.migrations()) + 1))


def test_migrating_twice_does_nothing_more(empty_database_url: str) -> None:
    assert schema.migrate(empty_database_url) == [migration.name for migration in schema.migrations()]
    assert schema.migrate(empty_database_url) == []


def test_migrating_from_several_places_at_once_applies_each_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(schema.migrate, [empty_database_url] * 4))
    assert sorted(map(len, applied)) == [0, 0, 0, len(schema.migrations())]


def test_a_database_is_current_once_migrated(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        assert not schema.is_current(connection)
        schema.migrate(empty_database_url)
        assert schema.is_current(connection)
        connection.execute("INSERT INTO schema_migrations VALUES (99, '0099_of_a_later_release')")
        assert schema.is_current(connection)


def test_a_migration_that_fails_leaves_nothing(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [*schema.migrations(), schema.Migration(99, "0099_broken", "CREATE TABLE half (); SELECT 1/0")]
    monkeypatch.setattr(schema, "migrations", lambda: broken)
    with pytest.raises(psycopg.Error):
        schema.migrate(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regclass('callbacks'), to_regclass('half')").fetchone() == (None, None)
