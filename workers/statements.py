"""The SQL of the workers and of the read model, one file for each statement, in workers/sql."""

from functools import cache
from importlib.resources import files


@cache
def sql(name: str) -> bytes:
    """The statement in workers/sql/`name`.sql; a folder is part of the name."""
    return files("workers").joinpath("sql", *f"{name}.sql".split("/")).read_bytes()
