"""Batches for the store, made by hand, so that no provider's words are between a test and the SQL."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row

from shared import inbox
from shared.callback import Callback, new_id, pack
from shared.events import DeliveryReport, Event, InboundMessage, Status
from shared.inbox import Consumer, Entry, Shard
from shared.providers import PROVIDERS
from tests.keys import INBOX, LEDGER
from tests.workers.scene import Scene, Words
from workers.connection import Connection
from workers.database import Database
from workers.dead_letters import DeadLetter
from workers.drain.read import Parsed
from workers.drain.run import Run
from workers.drain.store import Result, Store

_numbers = count(1)
_callbacks = count(1)
START = datetime(2026, 1, 1, tzinfo=UTC)

Rows = Callable[[str], list[dict[str, Any]]]


def parsed(*events: Event, dead_letters: list[DeadLetter] | None = None, source: str = "s", **fields: Any) -> Parsed:
    """A callback of its own with these events."""
    callback = Callback(
        id=new_id(START), source=source, provider="emnify", received_at=START, method="POST", body=b"\x00raw\xff"
    )
    entry = Entry(f"{next(_numbers)}-0", source, b"")
    return Parsed(entry, msgspec.structs.replace(callback, **fields), list(events), dead_letters or [])


def again(first: Parsed) -> Parsed:
    """The same callback under another inbox entry: an append whose answer was lost."""
    return first._replace(entry=first.entry._replace(id=f"{next(_numbers)}-0"))


def report(message_id: str, status: Status, at: datetime | None = None, **fields: Any) -> DeliveryReport:
    key = ("dr", message_id, status.value, str(fields.pop("variant", "")))
    return DeliveryReport(key=key, message_id=message_id, status=status, occurred_at=at, **fields)


def message(message_id: str, text: str = "hello", **fields: Any) -> InboundMessage:
    return InboundMessage(key=("mo", message_id), message_id=message_id, text=text, **fields)


class Idle(Consumer):
    """A consumer without a Redis: nothing that it claims needs to be renewed."""

    def __init__(self) -> None:
        self.renewals = 0

    def renew(self, entries: Any) -> None:
        self.renewals += 1


def attempt(store: Store, batch: Sequence[Parsed], seconds: float = 60.0) -> list[Result]:
    """The results of a batch, tried once by a run that has this time left. Raises Unavailable."""
    return store.attempt(batch, Run(Idle(), seconds))


def entries(client: Shard) -> list[dict[Any, Any]]:
    """The fields of the entries in the inbox."""
    found: Any = client.xrange(INBOX)
    return [fields for _, fields in found]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, statement_seconds=10)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


class Failing(Database):
    """A database whose transactions fail in turn, before they begin or after they were committed."""

    def __init__(self, url: str, *failures: BaseException | None, after: bool = False) -> None:
        super().__init__(url, statement_seconds=10)
        self._failures = iter(failures)
        self._after = after

    @contextmanager
    def transaction(self, rollback: bool = False) -> Iterator[Connection]:
        failure = None if rollback else next(self._failures, None)
        if failure and not self._after:
            raise failure
        with super().transaction(rollback) as connection:
            yield connection
        if failure:
            raise failure


@pytest.fixture
def failing(database_url: str) -> Iterator[Callable[..., Store]]:
    """Makes a store in a database that fails so."""
    made: list[Failing] = []

    def make(*failures: BaseException | None, after: bool = False) -> Store:
        made.append(Failing(database_url, *failures, after=after))
        return Store(made[-1])

    yield make
    for database in made:
        database.close()


@pytest.fixture
def rows(database_url: str) -> Rows:
    def rows(query: str) -> list[dict[str, Any]]:
        with psycopg.connect(database_url, row_factory=dict_row) as connection:
            return connection.execute(query.encode()).fetchall()

    return rows


@pytest.fixture
def scene(
    database_url: str, redis_url: str, database: Database, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    words = Words()
    monkeypatch.setitem(PROVIDERS, "emnify", words)
    with inbox.connect(redis_url, 5.0) as client:
        yield Scene(database_url, client, database, rows, words)


@pytest.fixture
def client(redis_url: str) -> Iterator[Shard]:
    with inbox.connect(redis_url, 5.0) as client:
        yield client


@pytest.fixture
def put(client: Shard) -> Any:
    def put(count: int, body: bytes | None = None) -> None:
        with client.pipeline() as pipe:  # one fsync for all
            for _ in range(count):
                now = datetime.now(UTC)
                own = b'{"id": %d, "organisation": {"id": 1}, "payload": "hi"}' % next(_callbacks)
                callback = Callback(
                    id=new_id(now), source="fleet", provider="emnify", received_at=now, method="POST", body=body or own
                )
                pipe.xadd(INBOX, {"s": "fleet", "c": pack(callback)})
            pipe.hincrby(LEDGER, "fleet:appended", count)
            pipe.execute()

    return put
