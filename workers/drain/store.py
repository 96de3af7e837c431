"""A batch in one transaction, begun and finished in two steps, so that the next batch is read while PostgreSQL works.

When anything goes wrong, `finish` takes the patient path: it waits for PostgreSQL, and does the batch again; where rows
are refused it halves the batch until the callback at fault is found (promise P5). Doing a batch again is always safe.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import NamedTuple

from shared import logs
from shared.errors import Unavailable
from shared.outcomes import Stage
from workers import demands, rows
from workers.database import AMBIGUOUS, RACES, REFUSALS, ROW_ERRORS, Database, TooMuch, describe
from workers.dead_letters import WHOLE, Blame, DeadLetter
from workers.drain.read import Parsed
from workers.drain.run import Run
from workers.rows import Stored

PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)  # while PostgreSQL is away; the last one repeats

log = logs.get(__name__)


class Refused(NamedTuple):
    """PostgreSQL works, but not on this callback. `certain`: its rows are refused; otherwise it took more memory or
    time than there was, which may pass."""

    dead_letter: DeadLetter
    certain: bool


Result = Stored | Refused


class Pending:
    """A batch that PostgreSQL works on. Leaving it unfinished by an exception takes it back."""

    def __init__(self, store: "Store", batch: Sequence[Parsed]) -> None:
        self._store = store
        self._batch = batch
        self._transaction = ExitStack()
        self._error: Exception | None = None
        if batch:
            self._begin()

    def __enter__(self) -> "Pending":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transaction.__exit__(kind, error, traceback)

    def finish(self, run: Run) -> list[Result] | None:
        """The result of each callback, in order; None when PostgreSQL stayed away until the run had to end."""
        return self._store.finish(self._batch, run, self._finish_begun) if self._batch else []

    def _begin(self) -> None:
        try:
            with ExitStack() as transaction:
                self._connection = transaction.enter_context(self._store.database.transaction())
                transaction.enter_context(self._connection.pipeline())
                self._cursor = rows.send(self._connection, self._batch)
                self._transaction = transaction.pop_all()
        except (Unavailable, *RACES, *REFUSALS) as error:
            self._error = error

    def _finish_begun(self) -> list[Stored]:
        if self._error is not None:
            raise self._error
        with self._transaction:
            return rows.results(self._connection, self._cursor, self._batch)


class Store:
    """Stores batches in one database; one for each worker process."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def begin(self, batch: Sequence[Parsed]) -> Pending:
        """Sends the batch to PostgreSQL. Never raises: what goes wrong is dealt with by `finish`."""
        return Pending(self, batch)

    def close(self) -> None:
        """Leaves PostgreSQL."""
        self.database.close()

    def finish(
        self, batch: Sequence[Parsed], run: Run, begun: Callable[[], list[Stored]] | None = None
    ) -> list[Result] | None:
        """The results of a batch, by what was begun and, where that fails, as often as it takes."""
        for pause_seconds in _pauses():
            try:
                return self.attempt(batch, run, begun)
            except Unavailable as error:
                log.warning("waiting to store", why=str(error), entries=len(batch), pause_seconds=pause_seconds)
            if not run.pause(pause_seconds):
                return None
            begun = None
        return None

    def store_dead(self, dead: Parsed) -> Stored:
        """Stores a callback without events, as a dead letter. Raises Unavailable."""
        try:
            (stored,) = self.database.run(lambda connection: rows.write(connection, [dead]))
        except (TooMuch, *ROW_ERRORS) as error:
            # Not one of its events but the raw callback: nothing in it should be able to do this.
            raise Unavailable(f"PostgreSQL refuses a raw callback ({describe(error)})") from None
        return stored

    def is_working(self) -> bool:
        """Whether PostgreSQL takes an ordinary callback now: stores one and takes it back."""
        try:
            self.database.run(lambda connection: rows.write(connection, [demands.a_message()]), rollback=True)
        except (Unavailable, *REFUSALS):
            return False
        return True

    def attempt(
        self, batch: Sequence[Parsed], run: Run, begun: Callable[[], list[Stored]] | None = None
    ) -> list[Result]:
        """The results of a batch, tried once: as a whole, and in parts where PostgreSQL refuses the whole.

        Raises Unavailable: nothing was stored, or some or all was and the answer was lost.
        """
        try:
            return list(self._as_a_whole(batch, begun))
        except (TooMuch, *ROW_ERRORS) as error:
            refused, is_ambiguous = refusal(error), isinstance(error, AMBIGUOUS)
        if len(batch) == 1:
            if is_ambiguous and not self.is_working():
                raise Unavailable(f"PostgreSQL takes no callback at all ({refused.dead_letter.detail})")
            why = refused.dead_letter.detail
            log.error("PostgreSQL refused a callback", source=batch[0].callback.source, why=why)
            return [refused]
        run.renew()
        if run.is_over:
            raise Unavailable(f"PostgreSQL is too slow: {refused.dead_letter.detail}")
        half = len(batch) // 2
        return self.attempt(batch[:half], run) + self.attempt(batch[half:], run)

    def _as_a_whole(self, batch: Sequence[Parsed], begun: Callable[[], list[Stored]] | None) -> list[Stored]:
        if begun is not None:
            with suppress(*RACES):
                return begun()
        return self.database.run(lambda connection: rows.write(connection, batch))


def refusal(error: Exception) -> Refused:
    """What one of REFUSALS means for the callback that it was raised for."""
    certain = isinstance(error, ROW_ERRORS)
    reason = "refused by PostgreSQL" if certain else "exceeds PostgreSQL's limits"
    return Refused(DeadLetter(WHOLE, Stage.STORE, reason, describe(error), Blame.OURS), certain)


def _pauses() -> Iterator[float]:
    yield from PAUSES_SECONDS
    while True:
        yield PAUSES_SECONDS[-1]
