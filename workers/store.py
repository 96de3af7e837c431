"""A whole batch in one transaction (write.py), and the exact outcome of each callback.

A batch is stored as a whole, or not at all. What PostgreSQL says about a failure decides who is at fault: the
connection or the server (Unavailable: wait and do the batch again), or a row (found by halving the batch, and set
aside by the drain, promise P5). Doing a batch again is always safe.
"""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Timer
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import errors

from shared import logs
from shared.callback import Callback, new_id
from shared.errors import Unavailable
from shared.events import InboundMessage
from shared.inbox import Entry
from workers import schema
from workers.parse import WHOLE, Letter, Parsed
from workers.write import Connection, TooMuch, nothing, write
from workers.write import Result as Result

CUT_SHARE = 1.2  # of the longest statement: PostgreSQL said nothing by then, so it is frozen or its host is gone
_TRIES = 5  # a batch that lost against other writers this often waits like one whose server is away

# The row is at fault: data exceptions, violated constraints, limits of the program (an index row too long), and text
# that is none.
_DATA_ERRORS = (errors.DataError, errors.IntegrityError, errors.ProgramLimitExceeded, UnicodeError)
# The batch may be at fault, being too large for the memory or the time that the server has: done again in halves.
_OVERTAXED = (errors.OutOfMemory, errors.QueryCanceled, errors.InternalError_)
_RACES = (errors.DeadlockDetected, errors.SerializationFailure)
REFUSALS = (TooMuch, *_DATA_ERRORS, *_OVERTAXED)  # what is, or may be, the fault of one callback

T = TypeVar("T")

# A host that is gone without a word is noticed within half a minute.
_CONNECTION: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# Settings of the session. A lock that somebody holds for long must be told from a statement that takes long, so its
# timeout is the shorter one. Without the last one a plan made while the tables were empty reads `callbacks` from end to
# end for every batch, for ever.
_SESSION = (
    "SELECT set_config('synchronous_commit', 'on', false), set_config('timezone', 'UTC', false),"
    " set_config('statement_timeout', %(ms)s, false), set_config('lock_timeout', %(lock_ms)s, false),"
    " set_config('idle_in_transaction_session_timeout', %(ms)s, false), set_config('enable_seqscan', 'off', false)"
)

log = logs.get(__name__)


class Refused(NamedTuple):
    """PostgreSQL works, but not on this callback. `certain`: its rows are refused; otherwise it took more memory or
    time than there was, which may pass."""

    letter: Letter
    certain: bool


Stored = Result | Refused


class Store:
    """One connection to PostgreSQL, opened when it is first needed and again after it was lost."""

    def __init__(self, url: str, statement_seconds: float) -> None:
        self._url = url
        self._statement_seconds = statement_seconds
        self._connection: Connection | None = None

    def store(
        self,
        batch: Sequence[Parsed],
        may_go_on: Callable[[], bool] = lambda: True,
        meanwhile: Callable[[], None] = nothing,
    ) -> list[Stored]:
        """Stores the batch; the result of each callback, in order. Those at fault are looked for while one may go on,
        which is asked before each step. `meanwhile` is done while PostgreSQL works.

        Raises Unavailable: nothing was stored, or some or all was and the answer was lost; the same batch may be given
        again in either case.
        """
        try:
            return list(self._store(batch, meanwhile)) if batch else []
        except (TooMuch, *_DATA_ERRORS) as error:
            refused = refusal(error)
        if len(batch) == 1:
            log.error("PostgreSQL refused a callback", source=batch[0].callback.source, why=refused.letter.detail)
            return [refused]
        if not may_go_on():
            raise Unavailable(f"PostgreSQL is too slow: {refused.letter.detail}")
        half = len(batch) // 2
        return self.store(batch[:half], may_go_on) + self.store(batch[half:], may_go_on)

    def bury(self, dead: Parsed) -> Result:
        """Stores a callback without events, as a dead letter. Raises Unavailable."""
        try:
            return self._store([dead])[0]
        except (*_DATA_ERRORS, TooMuch) as again:
            # Not one of its events but the raw callback: nothing in it should be able to do this.
            raise Unavailable(f"PostgreSQL refuses a raw callback ({_say(again)})") from None

    def answers(self) -> bool:
        """Whether PostgreSQL takes an ordinary callback now: stores one and takes it back."""
        now = datetime.now(UTC)
        callback = Callback(id=new_id(now), source="", provider="", received_at=now, method="", body=b"")
        event = InboundMessage(key=("probe", str(callback.id)), message_id=str(callback.id), text="")
        try:
            with self._trouble():
                self._once(lambda it: write(it, [Parsed(Entry("0-0", "", b""), callback, [event], [])]), rollback=True)
        except (Unavailable, TooMuch, *_DATA_ERRORS, *_RACES):
            return False
        return True

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

    def run(self, work: Callable[[Connection], T], rollback: bool = False) -> T:
        """What `work` returns, done in one transaction, and done again when it lost against other writers. The
        statements of `work` have, all together, little more than the time of one.

        Raises Unavailable, and what PostgreSQL says about a row.
        """
        for _ in range(_TRIES):
            with self._trouble():
                try:
                    return self._once(work, rollback)
                except _RACES:
                    continue
        raise Unavailable("too many writers of the same messages at once")

    def _store(self, batch: Sequence[Parsed], meanwhile: Callable[[], None] = nothing) -> list[Result]:
        return self.run(lambda connection: write(connection, batch, meanwhile))

    def _once(self, work: Callable[[Connection], T], rollback: bool) -> T:
        connection = self._connected()
        with self._in_time(connection), connection.transaction(force_rollback=rollback):
            return work(connection)

    @contextmanager
    def _in_time(self, connection: Connection) -> Iterator[None]:
        """Cuts the connection when PostgreSQL does not even say that the time is up."""
        timer = Timer(self._statement_seconds * CUT_SHARE, _cut, [connection])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._url, autocommit=True, **_CONNECTION)
            milliseconds = round(self._statement_seconds * 1000)
            with self._in_time(self._connection):
                self._connection.execute(_SESSION, {"ms": str(milliseconds), "lock_ms": str(milliseconds // 2)})
        return self._connection

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """Turns what is no row's fault into Unavailable, without the driver's own text, which may hold a row."""
        try:
            yield
        except (*_DATA_ERRORS, *_RACES):
            raise
        except _OVERTAXED as error:
            raise TooMuch(_too_much(error)) from None
        except errors.UndefinedTable:
            raise Unavailable("the database is not migrated: run `callbox migrate`") from None
        except psycopg.Error as error:
            self.close()
            raise Unavailable(f"PostgreSQL is away or refuses to work ({_say(error)})") from None


def refusal(error: Exception) -> Refused:
    """What one of REFUSALS says about the callback that it was raised for."""
    if isinstance(error, _DATA_ERRORS):
        return Refused(Letter(WHOLE, "store", "PostgreSQL refused its events", _say(error)), certain=True)
    detail = str(error) if isinstance(error, TooMuch) else _too_much(error)
    return Refused(Letter(WHOLE, "store", "it takes too much of PostgreSQL", detail), certain=False)


def _too_much(error: Exception) -> str:
    return f"PostgreSQL cannot do it at once ({_say(error)})"


def _cut(connection: Connection) -> None:
    """Ends the connection under whoever waits on it."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as its:
        its.shutdown(socket.SHUT_RDWR)


def _say(error: Exception) -> str:
    """What went wrong, without the driver's own text."""
    sqlstate = getattr(error, "sqlstate", None)
    return f"SQLSTATE {sqlstate}" if sqlstate else type(error).__name__
