"""Brings the database to this version's schema: plain numbered SQL files, applied in order, each once."""

from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

import psycopg

_LOCK = 0x63616C6C626F78  # "callbox": one migration at a time, from however many places


class Migration(NamedTuple):
    number: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Those of this release, in order."""
    return sorted(_read())


def migrate(url: str) -> list[str]:
    """Applies what is missing, all or none; the names of what was applied. Raises psycopg.Error."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations ("
            " number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        present = {row[0] for row in connection.execute("SELECT number FROM schema_migrations")}
        missing = [migration for migration in migrations() if migration.number not in present]
        for migration in missing:
            connection.execute(migration.sql.encode())
            connection.execute(
                "INSERT INTO schema_migrations (number, name) VALUES (%s, %s)", (migration.number, migration.name)
            )
    return [migration.name for migration in missing]


def is_current(connection: "psycopg.Connection[tuple[object, ...]]") -> bool:
    """Whether the database has all of this release's migrations; it may have later ones too."""
    found = connection.execute("SELECT to_regclass('schema_migrations')").fetchone()
    if found is None or found[0] is None:
        return False
    present = {row[0] for row in connection.execute("SELECT number FROM schema_migrations")}
    return present >= {migration.number for migration in migrations()}


def _read() -> Iterator[Migration]:
    for file in files("workers").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            stem = file.name.removesuffix(".sql")
            yield Migration(int(stem.partition("_")[0]), stem, file.read_text(encoding="utf-8"))
