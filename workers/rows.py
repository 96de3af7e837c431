"""A whole batch as rows: one statement (sql/store.sql), within the caller's transaction, and what it answers about each
callback."""

import select
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import psycopg

from shared.events import DeliveryReport, Event, dedupe_key, fingerprint
from shared.outcomes import Outcome
from workers.connection import Connection
from workers.database import Oversized, TooMuch
from workers.drain.read import Parsed
from workers.statements import sql

STATEMENT_CHARS = 64 * 1024 * 1024  # of one statement's parameters: a small payload may become many rows

Cursor = psycopg.Cursor[tuple[Any, ...]]


class Stored(NamedTuple):
    """What became of one callback. `repeat`: it is in PostgreSQL already, under another inbox entry; `conflict`: one of
    its events has the key of an event stored before, and another content."""

    outcome: Outcome
    repeat: bool
    conflict: bool


def write(connection: Connection, batch: Sequence[Parsed]) -> list[Stored]:
    """Stores the batch; what became of each callback, in order.

    Raises psycopg.Error, UnicodeError for text that cannot be encoded, TooMuch, and Oversized for a single callback.
    """
    return results(connection, send(connection, batch), batch)


def send(connection: Connection, batch: Sequence[Parsed]) -> Cursor:
    """The first half of `write`. In psycopg's pipeline mode it only sends the statement, and does not wait for it."""
    cursor = connection.execute(sql("store"), _parameters(batch))
    writable = select.poll()  # select() takes no descriptor above 1,023
    writable.register(connection.fileno(), select.POLLOUT)
    while connection.pgconn.flush():
        writable.poll()
    return cursor


def results(connection: Connection, cursor: Cursor, batch: Sequence[Parsed]) -> list[Stored]:
    """The second half of `write`: waits for PostgreSQL."""
    rows = cursor.fetchall()
    found = {n: columns for n, *columns, _ in rows}
    raced = {n: batch[n] for n, *_, was_raced in rows if was_raced}
    if raced:
        found |= {n: columns for n, *columns in connection.execute(sql("raced"), _raced_parameters(raced)).fetchall()}
    return [Stored(Outcome(outcome), repeat, conflict) for outcome, repeat, conflict in found.values()]


def _parameters(batch: Sequence[Parsed]) -> dict[str, str]:
    """The four JSON arrays of store.sql."""
    callbacks: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    reports: list[dict[str, Any]] = []
    dead_letters: list[dict[str, Any]] = []
    for n, parsed in enumerate(batch):
        callbacks.append(
            {**_fields(parsed.callback), "n": n, "inbox_id": parsed.entry.inbox_id, "events": len(parsed.events)}
        )
        dead_letters += ({"n": n, **dead_letter.columns()} for dead_letter in parsed.dead_letters)
        for event in parsed.events:
            rows = reports if isinstance(event, DeliveryReport) else messages
            rows.append({**_event_row(event), "n": n, "i": len(rows)})
    arrays = {"callbacks": callbacks, "messages": messages, "reports": reports, "dead_letters": dead_letters}
    parameters = {name: msgspec.json.encode(rows).decode() for name, rows in arrays.items()}
    size = sum(map(len, parameters.values()))
    if size > STATEMENT_CHARS:
        kind = TooMuch if len(batch) > 1 else Oversized
        raise kind(f"its rows take {size} characters, of at most {STATEMENT_CHARS}")
    return parameters


def _raced_parameters(raced: Mapping[int, Parsed]) -> dict[str, str]:
    """The two JSON arrays of raced.sql."""
    callbacks = [
        {"n": n, "id": each.callback.id, "received_at": each.callback.received_at, "inbox_id": each.entry.inbox_id}
        for n, each in raced.items()
    ]
    events = [
        {
            "id": each.callback.id,
            "kind": "dr" if isinstance(event, DeliveryReport) else "mo",
            "source": each.callback.source,
            "key_hex": dedupe_key(event).hex(),
            "fingerprint_hex": fingerprint(event).hex(),
        }
        for each in raced.values()
        for event in each.events
    ]
    return {"callbacks": msgspec.json.encode(callbacks).decode(), "events": msgspec.json.encode(events).decode()}


def _event_row(event: Event) -> dict[str, Any]:
    row = {**_fields(event), "key_hex": dedupe_key(event).hex(), "fingerprint_hex": fingerprint(event).hex()}
    del row["key"]
    if isinstance(event, DeliveryReport):
        row |= {"final": event.status.final, "rank": event.status.rank, "position": event.status.position}
    return row


_fields = msgspec.structs.asdict
