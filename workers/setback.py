"""Notices a PostgreSQL that no longer has what it had stored: restored from an older backup, or replaced by a standby
that lacked commits. The ledger counts those callbacks as stored, so somebody must know."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

from shared import logs
from shared.errors import Unavailable
from shared.inbox import Inbox, Latest, Setback, note_latest, read_notes
from workers.connection import Connection
from workers.database import REFUSALS, Database
from workers.queries import find_callback
from workers.statements import sql

KEPT = timedelta(days=1)  # retention removes none so soon

log = logs.get(__name__)


def report_latest(inbox: Inbox, database: Database) -> None:
    """Notes in the inbox which callback is the latest in PostgreSQL; and a setback, when that of the last note is gone.
    A PostgreSQL that is away is no news. Raises RedisUnavailable."""
    known = read_notes(inbox.first).latest
    with suppress(Unavailable, *REFUSALS):
        latest = database.ask(_latest)
        now = datetime.now(UTC)
        setback = None
        if known and now - known.received_at < KEPT and not database.ask(lambda found: _has(found, known.id)):
            setback = Setback(now, known.received_at, latest.received_at if latest else None)
            log.error("PostgreSQL no longer has callbacks that it had stored", had=setback.had, has=setback.has)
        note_latest(inbox.first, latest, setback)


def _latest(connection: Connection) -> Latest | None:
    row = connection.execute(sql("queries/latest")).fetchone()
    return Latest(*row) if row else None


def _has(connection: Connection, id: UUID) -> bool:
    return find_callback(connection, id) is not None
