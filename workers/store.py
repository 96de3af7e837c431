"""Rows: one statement in one transaction for a whole batch (sql/store.sql), and the exact outcome of each callback.

A batch is stored as a whole, or not at all. What PostgreSQL says about a failure decides who is at fault: the
connection or the server (Unavailable: wait and do the batch again), or a row (found by halving the batch, and set
aside as a dead letter, promise P5). Doing a batch again is always safe.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import errors

from shared import logs
from shared.errors import Unavailable
from shared.events import DeliveryReport, Event, dedupe_key, fingerprint
from workers import schema
from workers.parse import WHOLE, Letter, Parsed

_STORE, _SETTLE = (files("workers").joinpath("sql", f"{name}.sql").read_bytes() for name in ("store", "settle"))
STATEMENT_CHARS = 64 * 1024 * 1024  # of one statement's parameters: a small payload may become many rows
_TRIES = 5  # a batch that lost against other writers this often waits like one whose server is away

# The row is at fault: data exceptions, violated constraints, limits of the program (an index row too long), and text
# that is none.
_DATA_ERRORS = (errors.DataError, errors.IntegrityError, errors.ProgramLimitExceeded, UnicodeError)
# The batch may be at fault, being too large for the memory or the time that the server has: done again in halves.
_OVERTAXED = (errors.OutOfMemory, errors.QueryCanceled, errors.InternalError_)
_RACES = (errors.DeadlockDetected, errors.SerializationFailure)

# A host that is gone without a word is noticed within half a minute.
_CONNECTION: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# Settings of the session. Without the last one a plan made while the tables were empty reads `callbacks` from end to
# end for every batch, for ever.
_SESSION = (
    "SELECT set_config('synchronous_commit', 'on', false), set_config('timezone', 'UTC', false),"
    " set_config('statement_timeout', %(ms)s, false), set_config('lock_timeout', %(ms)s, false),"
    " set_config('idle_in_transaction_session_timeout', %(ms)s, false), set_config('enable_seqscan', 'off', false)"
)

log = logs.get(__name__)


class Result(NamedTuple):
    """What became of one callback. `repeat`: it stands already under another inbox entry; `conflict`: one of its
    events has the key of an event stored before, and another content."""

    outcome: str
    repeat: bool
    conflict: bool


class _TooMuch(Exception):
    """The batch is too large to be stored at once."""


class Store:
    """One connection to PostgreSQL, opened when it is first needed and again after it was lost."""

    def __init__(self, url: str, statement_seconds: float) -> None:
        self._url = url
        self._statement_ms = str(round(statement_seconds * 1000))
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def store(self, batch: Sequence[Parsed]) -> list[Result]:
        """Stores the batch; the result of each callback, in order. Raises Unavailable: nothing was stored, or all
        was and the answer was lost; the same batch may be given again in either case."""
        try:
            return self._store(batch)
        except _TooMuch as error:
            if len(batch) == 1:
                raise Unavailable(str(error)) from None
        except _DATA_ERRORS as error:
            if len(batch) == 1:
                return self._store_dead(batch[0], error)
        half = len(batch) // 2
        return self.store(batch[:half]) + self.store(batch[half:])

    def ready(self) -> None:
        """Raises Unavailable unless PostgreSQL answers and has this release's tables."""
        with self._trouble():
            if not schema.is_current(self._connected()):
                raise Unavailable("the database is not migrated: run `callbox migrate`")

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _store_dead(self, parsed: Parsed, error: Exception) -> list[Result]:
        log.error("PostgreSQL refused a callback", source=parsed.callback.source, why=_say(error))
        letter = Letter(WHOLE, "store", "PostgreSQL refused its events", _say(error))
        try:
            return self._store([parsed._replace(events=[], letters=[letter])])
        except _DATA_ERRORS as again:
            # Not one of its events but the raw callback: nothing in it should be able to do this.
            raise Unavailable(f"PostgreSQL refuses a raw callback ({_say(again)})") from None

    def _store(self, batch: Sequence[Parsed]) -> list[Result]:
        parameters = _parameters(batch)
        size = sum(map(len, parameters.values()))
        if size > STATEMENT_CHARS:
            error = f"its rows take {size} characters, of at most {STATEMENT_CHARS}"
            raise _TooMuch(error) if len(batch) > 1 else errors.ProgramLimitExceeded(error)
        for _ in range(_TRIES):
            with self._trouble():
                try:
                    return self._execute(batch, parameters)
                except _RACES:
                    continue
        raise Unavailable("too many writers of the same messages at once")

    def _execute(self, batch: Sequence[Parsed], parameters: dict[str, str]) -> list[Result]:
        connection = self._connected()
        with connection.transaction():
            rows = connection.execute(_STORE, parameters).fetchall()
            results = [Result(outcome, repeat, conflict) for _, outcome, repeat, conflict, _ in rows]
            raced = [n for n, *_, raced in rows if raced]
            if raced:
                settled = connection.execute(_SETTLE, _settling({n: batch[n] for n in raced}))
                for n, *result in settled:
                    results[n] = Result(*result)
        return results

    def _connected(self) -> "psycopg.Connection[tuple[Any, ...]]":
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._url, autocommit=True, **_CONNECTION)
            self._connection.execute(_SESSION, {"ms": self._statement_ms})
        return self._connection

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """Turns what is no row's fault into Unavailable, without the driver's own text, which may hold a row."""
        try:
            yield
        except (*_DATA_ERRORS, *_RACES):
            raise
        except _OVERTAXED as error:
            raise _TooMuch(f"PostgreSQL cannot do it at once ({_say(error)})") from None
        except errors.UndefinedTable:
            raise Unavailable("the database is not migrated: run `callbox migrate`") from None
        except psycopg.Error as error:
            self.close()
            raise Unavailable(f"PostgreSQL is away or refuses to work ({_say(error)})") from None


def _say(error: Exception) -> str:
    """What went wrong, without the driver's own text."""
    sqlstate = getattr(error, "sqlstate", None)
    return f"SQLSTATE {sqlstate}" if sqlstate else type(error).__name__


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
