"""What is in PostgreSQL in the end, as far as it is counted."""

from collections import Counter
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

Body = tuple[str, bytes]  # source, body: what was sent
EventKey = tuple[str, str, str, str]  # source, kind, message id, status


class Row(NamedTuple):
    """One row of `callbacks`, as far as it matters here."""

    id: UUID
    source: str
    outcome: str
    body: bytes


class Stored(NamedTuple):
    """All that is in PostgreSQL in the end."""

    callbacks: list[Row]
    events: "Counter[EventKey]"
    deliveries: dict[tuple[str, str], tuple[str, int]]  # source, message id → status, reports
    dead: "Counter[str]"  # by reason


def read_stored(url: str) -> Stored:
    """Raises psycopg.Error."""
    with psycopg.connect(url) as connection:

        def rows(sql: str) -> list[Any]:
            return connection.execute(sql.encode()).fetchall()

        events = [(source, "mo", id, "") for source, id in rows("SELECT source, message_id FROM inbound_messages")]
        events += [
            (source, "dr", id, status)
            for source, id, status in rows("SELECT source, message_id, status FROM delivery_reports")
        ]
        return Stored(
            [Row(*row) for row in rows("SELECT id, source, outcome, body FROM callbacks")],
            Counter(events),
            {
                (s, id): (status, n)
                for s, id, status, n in rows("SELECT source, message_id, status, reports FROM deliveries")
            },
            Counter(reason for (reason,) in rows("SELECT reason FROM dead_letters")),
        )
