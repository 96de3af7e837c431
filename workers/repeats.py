"""Repeats: events that came again, and in what they differ from those that are stored.

Only the raw callback holds what came again. So it is read once more, as a replay would, and each of its events is
looked up by its dedupe key.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from shared.callback import pack
from shared.events import DeliveryReport, Event, dedupe_key
from shared.inbox import Entry
from shared.source import Source
from workers.drain import read
from workers.queries import CallbackRow, MessageRow, Queries, ReportRow


class StoredMessage(MessageRow, frozen=True, kw_only=True):
    """A row of `inbound_messages`, with the callback that brought it."""

    callback_id: UUID


class StoredReport(ReportRow, frozen=True, kw_only=True):
    """A row of `delivery_reports`, with the callback that brought it."""

    callback_id: UUID


class Difference(msgspec.Struct, frozen=True):
    """A field that an event has in two ways: as it is stored, and as the callback that repeats it has it."""

    field: str
    stored: Any
    repeated: Any


class Repeat(NamedTuple):
    """An event of a callback that another callback had brought before, when and in what it differs."""

    message_id: str
    stored_by: UUID
    stored_at: datetime
    differences: list[Difference]


class ConflictRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event that came again with another content: the callback that brought it again, and the one it was stored
    from."""

    received_at: datetime
    source: str
    provider: str
    message_id: str
    callback_id: UUID
    stored_by: UUID


def repeats(queries: Queries, callback: CallbackRow, sources: Mapping[str, Source]) -> Iterator[Repeat]:
    """The events of this callback that were stored before it came, by what its source's provider makes of it now."""
    entry = Entry(callback.inbox_id, callback.source, pack(callback))
    for event in read.read(entry, sources).events:
        stored = _stored(queries, callback.source, event)
        if stored is not None and stored.callback_id != callback.id:
            yield Repeat(stored.message_id, stored.callback_id, stored.received_at, differences(stored, event))


def conflicts(
    queries: Queries,
    sources: Mapping[str, Source],
    limit: int,
    source: str | None = None,
    since: datetime | None = None,
) -> list[ConflictRow]:
    """Events that came again with another content, of a source, since then, from at most `limit` callbacks."""
    return [
        ConflictRow(
            received_at=callback.received_at,
            source=callback.source,
            provider=callback.provider,
            message_id=repeat.message_id,
            callback_id=callback.id,
            stored_by=repeat.stored_by,
        )
        for callback in queries.conflicting(limit, source, since)
        for repeat in repeats(queries, callback, sources)
    ]


def differences(stored: StoredMessage | StoredReport, event: Event) -> list[Difference]:
    """The fields in which an event differs from the stored one of its key."""
    names = [field.name for field in msgspec.structs.fields(stored) if hasattr(event, field.name)]
    pairs = [(name, getattr(stored, name), _as_stored(getattr(event, name))) for name in names]
    return [Difference(name, before, after) for name, before, after in pairs if before != after]


def _as_stored(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _stored(queries: Queries, source: str, event: Event) -> StoredMessage | StoredReport | None:
    key = {"source": source, "key": dedupe_key(event)}
    if isinstance(event, DeliveryReport):
        return next(queries.select(StoredReport, "queries/stored_report", key), None)
    return next(queries.select(StoredMessage, "queries/stored_message", key), None)
