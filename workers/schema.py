"""Brings the database to this release's schema: plain numbered SQL files, applied in order, each once.

`NNNN_name.sql` and `NNNN_name.before.sql` are applied before the processes of the new release start, while those of the
version before still work; `NNNN_name.after.sql` once none of the version before is left. A file is one transaction
unless its first line is one of two markers; then it is one statement, which must be safe to run again.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from typing import NamedTuple

import psycopg

from workers.connection import PATIENCE, Connection, connect

OUTSIDE = "-- outside a transaction"  # for CREATE INDEX CONCURRENTLY IF NOT EXISTS and the like
REPEATED = "-- repeat until no row is left"  # for a change in batches: one transaction for each

ENCODING = "UTF8"
NOT_MIGRATED = "the database is not migrated: run `callbox migrate`"

_LOCK = 0x63616C6C626F78  # "callbox": one migration at a time, from however many places
_WAIT_SECONDS = 0.1  # between two tries to take the lock
_INDEX = re.compile(r"INDEX CONCURRENTLY IF NOT EXISTS (\w+)")


class Unfit(Exception):
    """This database, or its role, cannot have the schema. The message names what to do."""


class Migration(NamedTuple):
    """One file. `name` is that of the file without `.sql`."""

    number: int
    name: str
    sql: str

    @property
    def is_after(self) -> bool:
        """Whether it has to wait until no process of the version before is left."""
        return self.name.endswith(".after")

    @property
    def marker(self) -> str:
        """Its first line."""
        return self.sql.partition("\n")[0].strip()


def migrations() -> list[Migration]:
    """Those of this release, in order."""
    return sorted(_read())


def migrate(url: str, after: bool = False, waits: Callable[[], None] = lambda: None) -> list[str]:
    """Applies what is missing, in order; the names of what was applied. With `after` also the parts that must wait
    until no process of the version before is left; a database without any migration gets them at once.

    `waits` is called when another migration runs, for whose end this one waits. A failure or an interruption leaves the
    migrations before it, and the next run goes on from there. Raises Unfit, and psycopg.Error.
    """
    with _alone(url, waits) as guard, connect(url, **PATIENCE) as connection, _allowed(connection):
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations ("
            " number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        present = _present(connection)
        missing = [
            each for each in migrations() if each.number not in present and (after or not present or not each.is_after)
        ]
        for migration in missing:
            guard.execute("SELECT 1")  # raises when the lock was lost with its connection
            _apply(connection, migration)
    return [migration.name for migration in missing]


def unfit(connection: Connection) -> str | None:
    """Why this database cannot hold the schema; None if it can."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding == ENCODING:
        return None
    return (
        f"the database {connection.info.dbname} is in {encoding}, which has no emoji: make one with "
        f"ENCODING '{ENCODING}' TEMPLATE template0, and name it in CALLBOX_DATABASE_URL"
    )


def grants(connection: Connection) -> str:
    """What an administrator has to run so that this role may do its work."""
    found = connection.execute("SELECT quote_ident(coalesce(current_schema(), 'public')), quote_ident(current_user)")
    schema, role = found.fetchone() or ("public", "callbox")
    return (
        f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}; "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}; "
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"
    )


def is_current(connection: Connection) -> bool:
    """Whether the database has all that this release's processes need; it may have later migrations too."""
    return _present(connection) >= {migration.number for migration in migrations() if not migration.is_after}


def is_complete(connection: Connection) -> bool:
    """Whether the database also has the parts that come after the release."""
    return _present(connection) >= {migration.number for migration in migrations()}


def _present(connection: Connection) -> set[object]:
    found = connection.execute("SELECT to_regclass('schema_migrations')").fetchone()
    if found is None or found[0] is None:
        return set()
    return {row[0] for row in connection.execute("SELECT number FROM schema_migrations")}


@contextmanager
def _allowed(connection: Connection) -> Iterator[None]:
    """Raises Unfit where the database or the role is not up to what is done inside."""
    if why := unfit(connection):
        raise Unfit(why)
    try:
        yield
    except psycopg.errors.InsufficientPrivilege:
        raise Unfit(f"the role of CALLBOX_DATABASE_URL may not do this: {grants(connection)}") from None


@contextmanager
def _alone(url: str, waits: Callable[[], None]) -> Iterator[Connection]:
    """Holds the lock, in a transaction of its own: this works through a pooler too. It is asked for again and again,
    for whoever waits inside PostgreSQL has a snapshot, which CREATE INDEX CONCURRENTLY would wait for."""
    with connect(url, **PATIENCE) as guard:
        guard.autocommit = False
        guard.prepare_threshold = None  # a prepared statement would keep its snapshot until the next one
        is_reported = False
        while not _take_lock(guard):
            guard.rollback()
            if not is_reported:
                is_reported = True
                waits()
            time.sleep(_WAIT_SECONDS)
        yield guard


def _take_lock(guard: Connection) -> bool:
    guard.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    return guard.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,)).fetchone() == (True,)


def _apply(connection: Connection, migration: Migration) -> None:
    """Applies it and records that it was applied. Without a marker both are one transaction."""
    step = _STEPS.get(migration.marker)
    with nullcontext() if step else connection.transaction():
        (step or _execute)(connection, migration)
        connection.execute(
            "INSERT INTO schema_migrations (number, name) VALUES (%s, %s)", (migration.number, migration.name)
        )


def _execute(connection: Connection, migration: Migration) -> None:
    connection.execute(migration.sql.encode())


def _execute_outside(connection: Connection, migration: Migration) -> None:
    """Before that it drops the invalid index that an interrupted run has left under the same name."""
    for name in _INDEX.findall(migration.sql):
        invalid = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid"
        if connection.execute(invalid, (name,)).fetchone():
            connection.execute(f"DROP INDEX CONCURRENTLY {name}".encode())
    _execute(connection, migration)


def _execute_repeatedly(connection: Connection, migration: Migration) -> None:
    while connection.execute(migration.sql.encode()).rowcount > 0:
        pass


_STEPS: dict[str, Callable[[Connection, Migration], None]] = {OUTSIDE: _execute_outside, REPEATED: _execute_repeatedly}


def _read() -> Iterator[Migration]:
    for file in files("workers").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            stem = file.name.removesuffix(".sql")
            yield Migration(int(stem.partition("_")[0]), stem, file.read_text(encoding="utf-8"))
