"""Batches for the store, made by hand, so that no provider's words stand between a test and the SQL."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec
import psycopg
import pytest
import redis
from psycopg.rows import dict_row

from shared import inbox
from shared.callback import Callback, new_id, pack
from shared.events import DeliveryReport, Event, InboundMessage, Status
from shared.inbox import Entry
from shared.providers import PROVIDERS
from tests.workers.scene import Scene, Words
from workers.dead_letters import DeadLetter
from workers.drain.read import Parsed
from workers.drain.store import Store

_numbers = count(1)
_callbacks = count(1)
START = datetime(2026, 1, 1, tzinfo=UTC)

Rows = Callable[[str], list[dict[str, Any]]]


def parsed(*events: Event, letters: list[DeadLetter] | None = None, source: str = "s", **fields: Any) -> Parsed:
    """A callback of its own with these events."""
    callback = Callback(
        id=new_id(START), source=source, provider="emnify", received_at=START, method="POST", body=b"\x00raw\xff"
    )
    entry = Entry(f"{next(_numbers)}-0", source, b"")
    return Parsed(entry, msgspec.structs.replace(callback, **fields), list(events), letters or [])


def again(first: Parsed) -> Parsed:
    """The same callback under another inbox entry: an append whose answer was lost."""
    return first._replace(entry=first.entry._replace(id=f"{next(_numbers)}-0"))


def report(message_id: str, status: Status, at: datetime | None = None, **fields: Any) -> DeliveryReport:
    key = ("dr", message_id, status.value, str(fields.pop("variant", "")))
    return DeliveryReport(key=key, message_id=message_id, status=status, occurred_at=at, **fields)


def message(message_id: str, text: str = "hello", **fields: Any) -> InboundMessage:
    return InboundMessage(key=("mo", message_id), message_id=message_id, text=text, **fields)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url, statement_seconds=10)
    yield store
    store.close()


@pytest.fixture
def rows(database_url: str) -> Rows:
    def rows(query: str) -> list[dict[str, Any]]:
        with psycopg.connect(database_url, row_factory=dict_row) as connection:
            return connection.execute(query.encode()).fetchall()

    return rows


@pytest.fixture
def scene(
    database_url: str, redis_url: str, store: Store, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    words = Words()
    monkeypatch.setitem(PROVIDERS, "emnify", words)  # type: ignore[arg-type]
    with inbox.connect(redis.Redis, redis_url, 5.0) as client:
        yield Scene(database_url, client, store, rows, words)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with inbox.connect(redis.Redis, redis_url, 5.0) as client:
        yield client


@pytest.fixture
def put(client: redis.Redis) -> Any:
    def put(count: int, body: bytes | None = None) -> None:
        for _ in range(count):
            now = datetime.now(UTC)
            own = b'{"id": %d, "organisation": {"id": 1}, "payload": "hi"}' % next(_callbacks)
            callback = Callback(
                id=new_id(now), source="fleet", provider="emnify", received_at=now, method="POST", body=body or own
            )
            client.xadd(inbox.INBOX, {"s": "fleet", "c": pack(callback)})
            client.hincrby(inbox.LEDGER, "fleet:appended", 1)

    return put
