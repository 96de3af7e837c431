"""The read model: what commands (and pages) show of the tables, in typed rows."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import dict_row

from shared.callback import Callback, time_of
from shared.events import Attachment
from shared.outcomes import Outcome, Stage
from workers.connection import PATIENCE, connect
from workers.dead_letters import ALL, Filter
from workers.statements import sql

Row = TypeVar("Row")


class CallbackRow(Callback, frozen=True, kw_only=True):
    """A row of `callbacks`."""

    inbox_id: str
    outcome: Outcome
    conflict: bool
    test: bool


class MessageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `inbound_messages`, as a callback brought it."""

    message_id: str
    channel: str
    sender: str | None
    recipient: str | None
    text: str
    encoding: str | None
    segments: int | None
    part_reference: str | None
    part_number: int | None
    part_count: int | None
    traffic: str | None
    intent: str
    attachments: list[Attachment]
    sent_at: datetime | None
    received_at: datetime
    extra: dict[str, Any]
    test: bool


class ReportRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `delivery_reports`, as a callback brought it."""

    message_id: str
    channel: str
    sender: str | None
    recipient: str | None
    status: str
    final: bool
    provider_status: str | None
    error_code: str | None
    reason: str | None
    occurred_at: datetime | None
    received_at: datetime
    price: Decimal | None
    currency: str | None
    parts: int | None
    traffic: str | None
    extra: dict[str, Any]
    test: bool


class DeadLetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `dead_letters`."""

    id: int
    callback_id: UUID
    item: int
    source: str
    provider: str
    stage: Stage
    reason: str
    detail: str
    created_at: datetime
    attempts: int
    state: str


class RecentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a recent callback, or the callback itself where it has none."""

    received_at: datetime
    source: str
    provider: str
    outcome: Outcome
    kind: str | None
    message_id: str | None
    sender: str | None
    recipient: str | None
    content: str | None
    traffic: str | None


class CallbackView(NamedTuple):
    """A callback and everything that became of it."""

    callback: CallbackRow
    messages: list[MessageRow]
    reports: list[ReportRow]
    dead_letters: list[DeadLetterRow]


def find_callback(connection: "psycopg.Connection[Any]", id: UUID) -> CallbackRow | None:
    """The callback of this id, read from the one partition that may have it; None when it is not in PostgreSQL."""
    try:
        made = time_of(id)  # the millisecond of received_at, the first column of the key
    except OverflowError:  # a year of five digits: no id of ours
        return None
    parameters = {"id": id, "from": made, "to": made + timedelta(milliseconds=1)}
    return next(_select(connection, CallbackRow, "queries/callback", parameters), None)


def count_open_dead_letters(connection: "psycopg.Connection[Any]") -> dict[str, int]:
    """How many dead letters of each source are open."""
    return dict(connection.execute(sql("queries/open_dead_letters")).fetchall())


class Queries:
    """Reads the tables over a connection of its own. Raises psycopg.Error."""

    def __init__(self, url: str) -> None:
        self._connection = connect(url, **PATIENCE)

    def __enter__(self) -> "Queries":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def callback(self, id: UUID) -> CallbackView | None:
        """The callback of this id, and everything that became of it; None when it is not in PostgreSQL (yet)."""
        callback = find_callback(self._connection, id)
        if callback is None:
            return None
        key = {"id": id, "received_at": callback.received_at}
        return CallbackView(
            callback,
            list(self.select(MessageRow, "queries/messages", key)),
            list(self.select(ReportRow, "queries/reports", key)),
            self.dead_letters(callback_id=id)[::-1],
        )

    def dead_letters(
        self,
        wanted: Filter = ALL,
        *,
        callback_id: UUID | None = None,
        state: str | None = None,
        limit: int | None = None,
    ) -> list[DeadLetterRow]:
        """Dead letters that match, of this callback, in this state: the newest first, at most `limit`."""
        parameters = {**wanted.parameters(), "callback_id": callback_id, "state": state, "limit": limit}
        return list(self.select(DeadLetterRow, "queries/dead_letters", parameters))

    def has_real_events(self, source: str) -> bool:
        """Whether a source has stored events that no test made."""
        return self._connection.execute(sql("queries/real_events"), {"source": source}).fetchone() == (True,)

    def open_dead_letters(self) -> dict[str, int]:
        """How many there are of each source."""
        return count_open_dead_letters(self._connection)

    def connections(self) -> int:
        """How many clients are connected to the database."""
        found = self._connection.execute(sql("queries/connections")).fetchone()
        return int(found[0]) if found else 0

    def conflicting(self, limit: int, source: str | None = None, since: datetime | None = None) -> list[CallbackRow]:
        """Callbacks with an event that came again with another content, of a source, since then: the newest first."""
        parameters = {"source": source, "since": since, "limit": limit}
        return list(self.select(CallbackRow, "queries/conflicts", parameters))

    def recent(self, since: datetime, limit: int) -> list[RecentRow]:
        """What the callbacks since then became, one row for each event."""
        return list(self.select(RecentRow, "queries/recent", {"since": since, "limit": limit}))

    def select(self, kind: type[Row], name: str, parameters: Mapping[str, Any]) -> Iterator[Row]:
        """The rows of a statement in workers/sql, typed."""
        return _select(self._connection, kind, name, parameters)


def _select(
    connection: "psycopg.Connection[Any]", kind: type[Row], name: str, parameters: Mapping[str, Any]
) -> Iterator[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(sql(name), parameters).fetchall():
            yield msgspec.convert(row, kind, builtin_types=(bytes, datetime, UUID, Decimal))
