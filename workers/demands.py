"""What Callbox demands of PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, datetime

from psycopg import errors

from shared.callback import Callback, new_id
from shared.demands import Examined
from shared.events import InboundMessage
from shared.inbox import Entry
from workers import rows, schema
from workers.connection import Connection
from workers.database import describe
from workers.drain.read import Parsed

OLDEST = 150_000  # 15.0, as PostgreSQL counts


def examine(connection: Connection) -> Examined:
    """The database of this connection, tried with a callback that is taken back. Raises psycopg.Error, but not for what
    the role may not do."""
    version = connection.info.parameter_status("server_version") or ""
    unmet = list(_unmet_by_server(connection)) or list(_unmet_by_tables(connection))
    risks = []
    if not unmet and not schema.is_complete(connection):
        risks.append("once all processes are of this release, run `callbox migrate --after`")
    return Examined(version, unmet, risks)


def a_message() -> Parsed:
    """A callback that is stored only to be taken back."""
    now = datetime.now(UTC)
    callback = Callback(id=new_id(now), source="", provider="", received_at=now, method="", body=b"")
    event = InboundMessage(key=("probe", str(callback.id)), message_id=str(callback.id), text="\N{WAVING HAND SIGN}")
    return Parsed(Entry("0-0", "", b""), callback, [event], [])


def _unmet_by_server(connection: Connection) -> Iterator[str]:
    if connection.info.server_version < OLDEST:
        version = connection.info.parameter_status("server_version")
        yield f"{version} is too old; Callbox needs 15 or newer"
        return
    if why := schema.unfit(connection):
        yield why
        return
    if not _one(connection, "SELECT current_setting('fsync') = 'on'"):
        yield "fsync is off: a power failure loses stored callbacks; set it to on"
    if not _one(connection, "SELECT current_setting('full_page_writes') = 'on'"):
        yield "full_page_writes is off: a power failure damages stored callbacks; set it to on"
    if _one(connection, "SELECT pg_is_in_recovery()"):
        yield "is a standby, which takes no writes: name the primary"
    if _one(
        connection,
        "SELECT datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)"
        " FROM pg_database WHERE datname = current_database()",
    ):
        name = connection.info.dbname
        yield (
            "sorts texts by other rules than when its indexes were made (its system was updated), and may store "
            f"twice what it does not find: REINDEX DATABASE {name}; ALTER DATABASE {name} REFRESH COLLATION VERSION"
        )


def _unmet_by_tables(connection: Connection) -> Iterator[str]:
    try:
        if not schema.is_current(connection):
            may_migrate = _one(connection, "SELECT has_schema_privilege(current_schema(), 'CREATE')")
            yield "is not migrated: run `callbox migrate`" + ("" if may_migrate else " as a role that may make tables")
            return
        with connection.transaction(force_rollback=True):
            rows.write(connection, [a_message()])
    except errors.InsufficientPrivilege:
        yield f"its role may not write what Callbox stores: {schema.grants(connection)}"
    except errors.ReadOnlySqlTransaction:
        yield "takes no writes (default_transaction_read_only is on): turn it off for this role"
    except (errors.DataError, errors.IntegrityError, errors.ProgrammingError) as error:
        yield f"does not take a callback ({describe(error)}): is its schema as `callbox migrate` made it?"


def _one(connection: Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None
