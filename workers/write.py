"""Rows: one statement for a whole batch (sql/store.sql), within the caller's transaction."""

import select
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import errors

from shared.events import DeliveryReport, Event, dedupe_key, fingerprint
from workers.parse import Parsed

_STORE, _SETTLE = (files("workers").joinpath("sql", f"{name}.sql").read_bytes() for name in ("store", "settle"))
STATEMENT_CHARS = 64 * 1024 * 1024  # of one statement's parameters: a small payload may become many rows

Connection = psycopg.Connection[tuple[Any, ...]]


class Result(NamedTuple):
    """What became of one callback. `repeat`: it stands already under another inbox entry; `conflict`: one of its
    events has the key of an event stored before, and another content."""

    outcome: str
    repeat: bool
    conflict: bool


class TooMuch(Exception):
    """The batch is too large to be stored at once."""


def nothing() -> None:
    """What is done meanwhile, unless there is something."""


def write(connection: Connection, batch: Sequence[Parsed], meanwhile: Callable[[], None] = nothing) -> list[Result]:
    """Stores the batch in the caller's transaction, and does something else while PostgreSQL works on it. Raises
    psycopg.Error, UnicodeError for text that is none, and what `meanwhile` raises."""
    parameters = _parameters(batch)
    size = sum(map(len, parameters.values()))
    if size > STATEMENT_CHARS:
        error = f"its rows take {size} characters, of at most {STATEMENT_CHARS}"
        raise TooMuch(error) if len(batch) > 1 else errors.ProgramLimitExceeded(error)
    with connection.pipeline():  # so that the statement is sent, but not waited for
        cursor = connection.execute(_STORE, parameters)
        while connection.pgconn.flush():
            select.select([], [connection.fileno()], [])
        meanwhile()
        rows = cursor.fetchall()
    results = [Result(outcome, repeat, conflict) for _, outcome, repeat, conflict, _ in rows]
    raced = [n for n, *_, raced in rows if raced]
    if raced:
        settled = connection.execute(_SETTLE, _settling({n: batch[n] for n in raced}))
        for n, *result in settled:
            results[n] = Result(*result)
    return results


def _parameters(batch: Sequence[Parsed]) -> dict[str, str]:
    """The four JSON arrays of store.sql."""
    callbacks: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    reports: list[dict[str, Any]] = []
    letters: list[dict[str, Any]] = []
    for n, parsed in enumerate(batch):
        callbacks.append(
            {**_fields(parsed.callback), "n": n, "inbox_id": parsed.entry.id, "events": len(parsed.events)}
        )
        letters += ({"n": n, **letter._asdict()} for letter in parsed.letters)
        for event in parsed.events:
            rows = reports if isinstance(event, DeliveryReport) else messages
            rows.append({**_event_row(event), "n": n, "i": len(rows)})
    arrays = {"callbacks": callbacks, "messages": messages, "reports": reports, "letters": letters}
    return {name: msgspec.json.encode(rows).decode() for name, rows in arrays.items()}


def _settling(raced: Mapping[int, Parsed]) -> dict[str, str]:
    """The two JSON arrays of settle.sql."""
    callbacks = [
        {"n": n, "id": it.callback.id, "received_at": it.callback.received_at, "inbox_id": it.entry.id}
        for n, it in raced.items()
    ]
    events = [
        {
            "id": it.callback.id,
            "kind": "dr" if isinstance(event, DeliveryReport) else "mo",
            "source": it.callback.source,
            "key": dedupe_key(event).hex(),
            "print": fingerprint(event).hex(),
        }
        for it in raced.values()
        for event in it.events
    ]
    return {"callbacks": msgspec.json.encode(callbacks).decode(), "events": msgspec.json.encode(events).decode()}


def _event_row(event: Event) -> dict[str, Any]:
    row = {**_fields(event), "key": dedupe_key(event).hex(), "print": fingerprint(event).hex()}
    if isinstance(event, DeliveryReport):
        row |= {"final": event.status.final, "rank": event.status.rank, "position": event.status.position}
    return row


_fields = msgspec.structs.asdict
