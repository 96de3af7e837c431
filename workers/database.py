"""One connection to PostgreSQL: transactions in limited time, and what its errors mean for who is at fault.

The connection or the server (Unavailable: wait, and do it again), other writers (a race: do it again at once), a row
(REFUSALS), or the size of the work (TooMuch). No error carries the driver's own text, which may cite a row.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from typing import TypeVar

import psycopg
from psycopg import errors

from shared.errors import Unavailable
from workers import schema
from workers.connection import PATIENCE, Connection, heed_pooler, open_connection

CUT_SHARE = 1.2  # of the longest statement: PostgreSQL has not answered by then, so it is frozen or its host is gone
_TRIES = 5  # work that lost against other writers this often waits like work whose server is away

T = TypeVar("T")


class TooMuch(Exception):
    """PostgreSQL cannot do the work at once, for its size or for the memory or time that there is."""


class Oversized(Exception):
    """The rows of a single callback are larger than one statement may be."""


RACES = (errors.DeadlockDetected, errors.SerializationFailure)
# A row is at fault: data exceptions, violated constraints, limits of the program (an index row too long), text that
# cannot be encoded.
ROW_ERRORS = (Oversized, errors.DataError, errors.IntegrityError, errors.ProgramLimitExceeded, UnicodeError)
# 54000: an index row is too long, or the server has no transaction ids left and takes no writes.
AMBIGUOUS = (errors.ProgramLimitExceeded,)
_TOO_MUCH = (errors.OutOfMemory, errors.QueryCanceled, errors.InternalError_)
REFUSALS = (TooMuch, *ROW_ERRORS, *_TOO_MUCH)  # what is, or may be, the fault of one callback

# Settings of a transaction: behind a pooler the session is not ours. lock_timeout is shorter than statement_timeout, to
# distinguish a lock wait from a slow statement. enable_seqscan is off because a plan cached on empty tables would scan
# `callbacks` for every batch.
_SETTINGS = (
    "SELECT set_config('synchronous_commit', 'on', true), set_config('timezone', 'UTC', true),"
    " set_config('statement_timeout', %(ms)s, true), set_config('lock_timeout', %(lock_ms)s, true),"
    " set_config('idle_in_transaction_session_timeout', %(ms)s, true), set_config('enable_seqscan', 'off', true)"
)


class Database:
    """Connects when it is first needed, and again after the connection was lost."""

    def __init__(self, url: str, statement_seconds: float) -> None:
        self._url = url
        self._statement_seconds = statement_seconds
        milliseconds = round(statement_seconds * 1000)
        self._settings = {"ms": str(milliseconds), "lock_ms": str(milliseconds // 2)}
        self._connection: Connection | None = None

    def run(self, work: Callable[[Connection], T], rollback: bool = False) -> T:
        """What `work` returns, done in one transaction, and done again when it lost a race against other writers. The
        statements of `work` have, all together, little more than the time of one.

        Raises Unavailable, TooMuch, and ROW_ERRORS for what PostgreSQL finds wrong about a row.
        """
        for _ in range(_TRIES):
            with suppress(*RACES), self.transaction(rollback) as connection:
                return work(connection)
        raise Unavailable("too many writers of the same messages at once")

    @contextmanager
    def transaction(self, rollback: bool = False) -> Iterator[Connection]:
        """A transaction, which is cut off when PostgreSQL does not answer in time. Raises as `run` does, and RACES."""
        with self._translated():
            connection = self._connected()
            with self._in_time(connection), connection.transaction(force_rollback=rollback):
                connection.execute(_SETTINGS, self._settings)
                yield connection

    def ask(self, question: Callable[[Connection], T]) -> T:
        """What `question` returns, in a transaction that is rolled back. Raises as `run` does."""
        return self.run(question, rollback=True)

    def check(self) -> None:
        """Raises Unavailable unless PostgreSQL answers and has this release's tables."""
        if not self.ask(schema.is_current):
            raise Unavailable(schema.NOT_MIGRATED)

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = open_connection(self._url, **PATIENCE)
            with self._in_time(self._connection):
                heed_pooler(self._connection)
        return self._connection

    @contextmanager
    def _in_time(self, connection: Connection) -> Iterator[None]:
        """Cuts the connection when PostgreSQL does not even report that the time is up."""
        timer = Timer(self._statement_seconds * CUT_SHARE, _cut, [connection])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (*ROW_ERRORS, *RACES):
            raise
        except _TOO_MUCH as error:
            raise TooMuch(describe(error)) from None
        except errors.UndefinedTable:
            raise Unavailable(schema.NOT_MIGRATED) from None
        except (errors.UndefinedColumn, errors.UndefinedFunction) as error:
            raise Unavailable(f"{schema.NOT_MIGRATED} ({describe(error)})") from None
        except psycopg.Error as error:
            self.close()
            raise Unavailable(f"PostgreSQL does not answer or refuses to work ({describe(error)})") from None


def describe(error: Exception) -> str:
    """What went wrong, without the driver's own text."""
    if isinstance(error, TooMuch | Oversized):
        return str(error)
    sqlstate = getattr(error, "sqlstate", None)
    return f"SQLSTATE {sqlstate}" if sqlstate else type(error).__name__


def _cut(connection: Connection) -> None:
    """Ends the connection under whoever waits on it."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
