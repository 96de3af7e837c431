"""A real PostgreSQL, as the workers' tests have it."""

from tests.workers.conftest import database, rows, store

__all__ = ["database", "rows", "store"]
