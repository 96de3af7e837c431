"""The migrations: each from the schema before it with rows in it, and steps outside a transaction and in batches."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from shared.events import Status
from shared.outcomes import Stage
from workers import schema
from workers.schema import OUTSIDE, REPEATED, Migration

Use = Callable[..., None]
Ask = Callable[[str], list[tuple[Any, ...]]]

BEFORE = [migration for migration in schema.migrations() if not migration.is_after]
AFTER = [migration for migration in schema.migrations() if migration.is_after]

# A row of each table, in the columns of its first version.
ROWS: dict[str, dict[str, Any]] = {
    "callbacks": {
        "id": "01900000-0000-7000-8000-000000000001", "inbox_id": "1-0", "source": "s", "provider": "emnify",
        "received_at": "2026-01-01T00:00Z", "method": "POST", "query": "", "headers": "{}", "body": b"\x00\xff",
        "outcome": "dead",
    },
    "inbound_messages": {
        "callback_id": "01900000-0000-7000-8000-000000000001", "source": "s", "provider": "emnify", "message_id": "1",
        "channel": "sms", "text": "hello", "part_count": 1, "traffic": "p2p", "intent": "none",
        "received_at": "2026-01-01T00:00Z", "extra": "{}", "dedupe_key": b"k", "fingerprint": b"f",
    },
    "delivery_reports": {
        "callback_id": "01900000-0000-7000-8000-000000000001", "source": "s", "provider": "emnify", "message_id": "2",
        "channel": "sms", "status": "delivered", "final": True, "received_at": "2026-01-01T00:00Z", "extra": "{}",
        "dedupe_key": b"k", "fingerprint": b"f",
    },
    "deliveries": {
        "source": "s", "provider": "emnify", "message_id": "2", "status": "delivered", "final": True,
        "first_report_at": "2026-01-01T00:00Z", "updated_at": "2026-01-01T00:00Z", "reports": 1, "winner_rank": 100,
        "winner_position": 9, "winner_key": b"k",
    },
    "dead_letters": {
        "callback_id": "01900000-0000-7000-8000-000000000001", "item": -1, "source": "s", "provider": "emnify",
        "stage": "parse", "reason": "not JSON", "detail": "",
    },
    "replays": {
        "callback_id": "01900000-0000-7000-8000-000000000001", "source": "s", "before": "dead", "after": "stored",
        "letters": 1, "in_ledger": True,
    },
}  # fmt: skip


@pytest.fixture
def ask(empty_database_url: str) -> Ask:
    def ask(query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    return ask


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Makes these the migrations of the release."""

    def use(*migrations: Migration) -> None:
        monkeypatch.setattr(schema, "migrations", lambda: list(migrations))

    return use


def fill(url: str) -> dict[str, dict[str, Any]]:
    """A row in each table that exists; the rows as they are read back."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        for table, row in ROWS.items():
            if connection.execute("SELECT to_regclass(%s) AS found", (table,)).fetchone() != {"found": None}:
                columns, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
                connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})".encode(), row)
    return read(url)


def read(url: str) -> dict[str, dict[str, Any]]:
    found = {}
    with psycopg.connect(url, row_factory=dict_row) as connection:
        for table in ROWS:
            if connection.execute("SELECT to_regclass(%s) AS found", (table,)).fetchone() != {"found": None}:
                (found[table],) = connection.execute(f"SELECT * FROM {table}".encode()).fetchall() or [{}]
    return found


# The files


def test_migrations_are_numbered_without_gap_or_double() -> None:
    assert [migration.number for migration in schema.migrations()] == list(range(1, len(schema.migrations()) + 1))


@pytest.mark.parametrize("migration", schema.migrations(), ids=lambda migration: migration.name)
def test_a_file_keeps_to_the_conventions(migration: Migration) -> None:
    assert re.fullmatch(r"\d{4}_[a-z_]+(\.before|\.after)?", migration.name)
    assert ("CONCURRENTLY" in migration.sql) <= (migration.marker == OUTSIDE)
    assert migration.sql.count("INDEX CONCURRENTLY") == migration.sql.count("INDEX CONCURRENTLY IF NOT EXISTS")
    if migration.marker in (OUTSIDE, REPEATED):
        assert migration.sql.count(";") <= 1


@pytest.mark.parametrize("number", range(2, len(schema.migrations()) + 1))
def test_rows_of_the_schema_before_are_intact_and_readable_after(
    empty_database_url: str, use: Use, number: int
) -> None:
    *before, migration = schema.migrations()[:number]
    use(*before)
    schema.migrate(empty_database_url, after=True)
    rows = fill(empty_database_url)
    use(*before, migration)
    assert schema.migrate(empty_database_url, after=True) == [migration.name]
    after = read(empty_database_url)
    for table, row in rows.items():
        assert row
        assert {name: after[table][name] for name in row} == row


def test_the_read_model_reads_rows_of_the_first_schema(empty_database_url: str, use: Use, ask: Ask) -> None:
    every = schema.migrations()
    use(every[0])
    schema.migrate(empty_database_url)
    fill(empty_database_url)
    use(*every)
    schema.migrate(empty_database_url, after=True)
    assert ask("SELECT text, parts_missing FROM assembled_messages") == [("hello", 0)]
    filters = "NULL, NULL, 's', 'not JSON', '-infinity', NULL, 'open'"
    assert ask(f"SELECT reason, stage FROM dead_letters_matching({filters})") == [("not JSON", "parse")]
    assert ask("SELECT reason FROM dead_letters_matching(NULL, NULL, 'other', NULL, NULL, NULL, NULL)") == []
    (plan,) = zip(*ask(f"EXPLAIN SELECT * FROM dead_letters_matching({filters})"), strict=True)
    assert "Function Scan" not in "".join(plan), "the function is not inlined"


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("delivery_reports", "status", list(Status)),
        ("deliveries", "status", list(Status)),
        ("dead_letters", "stage", list(Stage)),
    ],
)
def test_every_word_of_the_code_is_allowed_and_no_other(
    database_url: str, table: str, column: str, words: list[str]
) -> None:
    fill(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for word in words:
            connection.execute(f"UPDATE {table} SET {column} = %s".encode(), (word,))
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(f"UPDATE {table} SET {column} = 'other'".encode())


# Before and after


def test_migrating_twice_does_nothing_more(empty_database_url: str) -> None:
    assert schema.migrate(empty_database_url) == [migration.name for migration in schema.migrations()]
    assert schema.migrate(empty_database_url) == []


def test_the_parts_after_the_release_wait_until_they_are_asked_for(empty_database_url: str, use: Use) -> None:
    every = schema.migrations()
    use(every[0])
    schema.migrate(empty_database_url)
    use(*every)
    assert AFTER
    assert schema.migrate(empty_database_url) == [migration.name for migration in BEFORE[1:]]
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        assert (schema.is_current(connection), schema.is_complete(connection)) == (True, False)
        assert schema.migrate(empty_database_url, after=True) == [migration.name for migration in AFTER]
        assert (schema.is_current(connection), schema.is_complete(connection)) == (True, True)


def test_a_database_is_current_once_migrated(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        assert not schema.is_current(connection)
        schema.migrate(empty_database_url)
        assert schema.is_current(connection)
        connection.execute("INSERT INTO schema_migrations VALUES (99, '0099_of_a_later_release')")
        assert schema.is_current(connection)


def test_a_migration_that_fails_leaves_nothing_of_itself_and_the_next_run_goes_on(
    empty_database_url: str, use: Use, ask: Ask
) -> None:
    first = Migration(1, "0001_first", "CREATE TABLE first ()")
    use(first, Migration(2, "0002_second", "CREATE TABLE half (); SELECT 1/0"))
    with pytest.raises(psycopg.errors.DivisionByZero):
        schema.migrate(empty_database_url)
    assert ask("SELECT to_regclass('first')::text, to_regclass('half')") == [("first", None)]
    use(first, Migration(2, "0002_second", "CREATE TABLE whole ()"))
    assert schema.migrate(empty_database_url) == ["0002_second"]


# One at a time


def test_migrating_from_several_places_at_once_applies_each_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(schema.migrate, [empty_database_url] * 4))
    assert sorted(map(len, applied)) == [0, 0, 0, len(schema.migrations())]


def test_a_lock_that_is_lost_with_its_connection_ends_the_run(empty_database_url: str, use: Use, ask: Ask) -> None:
    kill_guard = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    use(Migration(1, "0001_kill", kill_guard), Migration(2, "0002_next", "CREATE TABLE next ()"))
    with pytest.raises(psycopg.OperationalError):
        schema.migrate(empty_database_url)
    assert ask("SELECT to_regclass('next')") == [(None,)]


# Outside a transaction

TABLE = Migration(1, "0001_table", "CREATE TABLE t (n integer, v integer, batch xid8, done integer NOT NULL DEFAULT 0)")
INDEX = Migration(2, "0002_index", f"{OUTSIDE}\n\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS t_n ON t (n)\n")
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('t_n')"


def test_an_index_is_made_outside_a_transaction_from_several_places_at_once(
    empty_database_url: str, use: Use, ask: Ask
) -> None:
    use(TABLE, INDEX)
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(schema.migrate, [empty_database_url] * 4))
    assert sorted(map(len, applied)) == [0, 0, 0, 2]
    assert ask(VALID) == [(True,)]


def test_an_index_is_made_after_many_migrations(empty_database_url: str, use: Use, ask: Ask) -> None:
    """Whoever holds the lock of the migration keeps no snapshot, for which the index would wait without limit."""
    many = [Migration(number, f"{number:04}_table", f"CREATE TABLE t{number} ()") for number in range(2, 12)]
    use(TABLE, *many, INDEX._replace(number=12))
    assert len(schema.migrate(f"{empty_database_url}?options=-c%20statement_timeout%3D20s")) == 12
    assert ask(VALID) == [(True,)]


def test_an_invalid_index_of_an_interrupted_run_is_made_again(empty_database_url: str, use: Use, ask: Ask) -> None:
    use(TABLE)
    schema.migrate(empty_database_url)
    ask("INSERT INTO t (n) VALUES (1), (1)")
    use(TABLE, INDEX)
    with pytest.raises(psycopg.errors.UniqueViolation):
        schema.migrate(empty_database_url)
    assert ask(VALID) == [(False,)]
    ask("DELETE FROM t")
    assert schema.migrate(empty_database_url) == [INDEX.name]
    assert ask(VALID) == [(True,)]


def test_an_index_that_was_made_but_not_recorded_is_recorded(empty_database_url: str, use: Use, ask: Ask) -> None:
    use(TABLE)
    schema.migrate(empty_database_url)
    ask("CREATE UNIQUE INDEX t_n ON t (n)")
    use(TABLE, INDEX)
    assert schema.migrate(empty_database_url) == [INDEX.name]
    assert ask("SELECT name FROM schema_migrations WHERE number = 2") == [(INDEX.name,)]


# In batches

BATCHES = Migration(
    2,
    "0002_batches",
    f"{REPEATED}\n\nUPDATE t SET v = 10 / n, done = done + 1, batch = pg_current_xact_id()"
    " WHERE n IN (SELECT n FROM t WHERE done = 0 ORDER BY n DESC LIMIT 2)\n",
)


def test_a_batch_is_repeated_until_no_row_is_left_each_in_its_own_transaction(
    empty_database_url: str, use: Use, ask: Ask
) -> None:
    use(TABLE)
    schema.migrate(empty_database_url)
    ask("INSERT INTO t SELECT generate_series(1, 5)")
    use(TABLE, BATCHES)
    with ThreadPoolExecutor(2) as pool:
        applied = list(pool.map(schema.migrate, [empty_database_url] * 2))
    assert sorted(map(len, applied)) == [0, 1]
    assert ask("SELECT count(*), count(DISTINCT batch), min(done), max(done) FROM t") == [(5, 3, 1, 1)]


def test_batches_that_were_interrupted_go_on_where_they_stopped(empty_database_url: str, use: Use, ask: Ask) -> None:
    use(TABLE)
    schema.migrate(empty_database_url)
    ask("INSERT INTO t SELECT generate_series(0, 4)")
    use(TABLE, BATCHES)
    with pytest.raises(psycopg.errors.DivisionByZero):  # in the third batch
        schema.migrate(empty_database_url)
    assert ask("SELECT n FROM t WHERE done = 1 ORDER BY n") == [(1,), (2,), (3,), (4,)]
    ask("UPDATE t SET n = 5 WHERE n = 0")
    assert schema.migrate(empty_database_url) == [BATCHES.name]
    assert ask("SELECT min(done), max(done) FROM t") == [(1, 1)]
