"""Dead letters: what could not be understood, and how the open ones are selected and discarded."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

from shared.outcomes import Stage
from workers.connection import Connection
from workers.database import Database
from workers.statements import sql

WHOLE = -1  # the item of a dead letter about the callback as a whole
PAGE = 500  # dead letters read, or discarded in one transaction


class Blame(StrEnum):
    """Whose fault a dead letter is."""

    SOURCE = "source"  # what it sent cannot be understood
    OURS = "ours"  # a parser that fails, a format of another release, rows that PostgreSQL refuses
    CONFIGURATION = "configuration"  # its source is not configured


class DeadLetter(NamedTuple):
    """What was not understood: an event's place in the callback, or WHOLE, and where and why."""

    item: int
    stage: Stage
    reason: str
    detail: str
    blame: Blame = Blame.SOURCE

    def columns(self) -> dict[str, Any]:
        """What is stored of it, by column."""
        return {"item": self.item, "stage": self.stage, "reason": self.reason, "detail": self.detail}


class Filter(NamedTuple):
    """Which open dead letters: those that fulfil all of this. They were created at or after `since`, before `until`."""

    ids: Sequence[int] | None = None
    source: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def parameters(self) -> dict[str, object]:
        """What the SQL function `dead_letters_matching` gets of it."""
        return {**self._asdict(), "ids": None if self.ids is None else list(self.ids)}


ALL = Filter()


class _Match(NamedTuple):
    id: int
    callback_id: UUID
    item: int
    reason: str


# Each raises Unavailable when PostgreSQL is away or not migrated.


def callbacks(database: Database, wanted: Filter) -> Iterator[UUID]:
    """The callbacks with dead letters that match, each once, in the order of their ids, which is that of arrival."""
    return (id for id, _ in groupby(match.callback_id for page in _pages(database, wanted) for match in page))


def count_callbacks(database: Database, wanted: Filter) -> int:
    """How many there are at the moment."""
    parameters = wanted.parameters()
    ((count,),) = database.run(lambda connection: connection.execute(sql("dead_letters/count"), parameters).fetchall())
    return int(count)


def states(database: Database, ids: Sequence[int]) -> dict[int, str]:
    """The state of each of these dead letters; those that do not exist are left out."""
    parameters = {"ids": list(ids)}
    return dict(database.run(lambda connection: connection.execute(sql("dead_letters/states"), parameters).fetchall()))


def discard(database: Database, wanted: Filter, dry: bool = False) -> Counter[str]:
    """Discards the dead letters that match; how many of each reason. The raw callbacks stay, and their outcomes."""
    counts: Counter[str] = Counter()
    for page in _pages(database, wanted):
        ids = [match.id for match in page]

        def work(connection: Connection, ids: Sequence[int] = ids) -> list[tuple[str]]:
            return connection.execute(sql("dead_letters/discard"), {"ids": ids}).fetchall()

        counts.update(reason for (reason,) in database.run(work, rollback=dry))
    return counts


def _pages(database: Database, wanted: Filter) -> Iterator[list[_Match]]:
    parameters = {**wanted.parameters(), "callback_id": UUID(int=0), "item": WHOLE, "page": PAGE}

    def read(connection: Connection) -> list[_Match]:
        return [_Match(*row) for row in connection.execute(sql("dead_letters/matching"), parameters)]

    while page := database.run(read):
        yield page
        parameters.update(callback_id=page[-1].callback_id, item=page[-1].item)
