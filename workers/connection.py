"""Connections to PostgreSQL: directly, through a pooler, or to the one of several hosts that takes writes."""

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

Connection = psycopg.Connection[tuple[Any, ...]]


def connect(url: str, **options: Any) -> Connection:
    """A connection without a transaction of its own; `options` are those of psycopg. Raises psycopg.Error."""
    connection = open_connection(url, **options)
    heed_pooler(connection)
    return connection


def open_connection(url: str, **options: Any) -> Connection:
    """The same, before anything was asked over it. Where the URL names several hosts and does not say which kind is
    meant, a standby is passed over."""
    known = conninfo_to_dict(url)
    if "," in str(known.get("host") or known.get("hostaddr") or "") and "target_session_attrs" not in known:
        options["target_session_attrs"] = "read-write"
    return psycopg.connect(url, autocommit=True, **options)


def heed_pooler(connection: Connection) -> None:
    """Behind a pooler (PgBouncer in transaction mode) no statement is prepared by name: the next one may run on another
    connection to the server."""
    # A pooler makes up the process id that it gives to its client.
    own = connection.execute("SELECT pg_backend_pid()").fetchone()
    if own != (connection.info.backend_pid,):
        connection.prepare_threshold = None
