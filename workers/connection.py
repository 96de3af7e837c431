"""Connections to PostgreSQL: directly, through a pooler, or to the one of several hosts that takes writes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

Connection = psycopg.Connection[tuple[Any, ...]]

# A host that is gone without a word is noticed within half a minute.
PATIENCE: Mapping[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class Address(NamedTuple):
    """Where the database is: `without_password` as libpq's programs take it on their command line, and the environment
    in which they find the password."""

    without_password: str
    secrets: Mapping[str, str]


def connect(url: str, **options: Any) -> Connection:
    """A connection without a transaction of its own; `options` are those of psycopg. Raises psycopg.Error."""
    connection = open_connection(url, **options)
    heed_pooler(connection)
    return connection


def open_connection(url: str, **options: Any) -> Connection:
    """The same, before anything was asked over it. Where the URL names several hosts and does not name which kind is
    meant, a standby is passed over."""
    return psycopg.connect(url, autocommit=True, **_kind_of_host(url), **options)


def address_of(url: str) -> Address:
    """The address in the words of libpq's programs. Raises psycopg.ProgrammingError."""
    known: dict[str, Any] = {**conninfo_to_dict(url), **_kind_of_host(url)}
    options = {option.keyword.decode(): option for option in pq.Conninfo.get_defaults()}
    secret = {name for name in known if options[name].dispchar == b"*"}
    variables = {options[name].envvar: str(known[name]) for name in secret}
    return Address(
        make_conninfo(**{name: value for name, value in known.items() if name not in secret}),
        {variable.decode(): value for variable, value in variables.items() if variable},
    )


def _kind_of_host(url: str) -> dict[str, Any]:
    known = conninfo_to_dict(url)
    is_open = "," in str(known.get("host") or known.get("hostaddr") or "") and "target_session_attrs" not in known
    return {"target_session_attrs": "read-write"} if is_open else {}


def heed_pooler(connection: Connection) -> None:
    """Behind a pooler (PgBouncer in transaction mode) no statement is prepared by name: the next one may run on another
    connection to the server."""
    # A pooler makes up the process id that it gives to its client.
    own = connection.execute("SELECT pg_backend_pid()").fetchone()
    if own != (connection.info.backend_pid,):
        connection.prepare_threshold = None
