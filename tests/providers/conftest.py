"""A real PostgreSQL, as the workers' tests have it."""

from tests.workers.conftest import rows, store

__all__ = ["rows", "store"]
