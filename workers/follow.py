"""Following events: every one that is committed, soon after its commit, and once.

Ids are drawn in order, but transactions end in any order: a row may become visible when rows with larger ids were shown
long ago. So a look does not go on after the largest id, but above a floor, and leaves out what it has shown above that.

Why no row is missed: each look first asks for the largest ids (1), then for the transactions that hold a writer's lock
on one of the tables (2), and then reads the rows above the floor (3). A transaction holds that lock from before it
draws its first id until its commit can be seen. So a row that (3) did not see, but that will be visible later, is of a
transaction that either took its lock after (2), so that its ids are above those of (1); or that (2) found, and then it
took its lock after the (2) of the last look that did not find it, so that its ids are above those of the (1) of that
look. The next floor is the smallest of these ids. Nothing depends on how long a transaction takes, nor on a clock.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from workers.queries import Queries

TABLES: Mapping[str, str] = {"message": "messages", "report": "reports", "dead_letter": "dead_letters"}
PAGE = 1000  # rows of a table that a look reads at most
AT_START_IDS = 10_000  # that a transaction may have drawn, and others after it, before the first look found it


class FollowedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `inbound_messages`, `delivery_reports` or `dead_letters`; null is what its table does not have. `age`
    is that of its transaction, counted in transactions."""

    kind: Literal["message", "report", "dead_letter"]
    id: int
    age: int
    callback_id: UUID
    received_at: datetime
    source: str
    provider: str
    message_id: str | None
    channel: str | None
    sender: str | None
    recipient: str | None
    text: str | None
    intent: str | None
    status: str | None
    error_code: str | None
    reason: str | None
    detail: str | None
    traffic: str | None
    test: bool | None


class Ids(msgspec.Struct, frozen=True):
    """One id in each of the tables."""

    messages: int
    reports: int
    dead_letters: int

    def less(self, count: int) -> "Ids":
        return Ids(self.messages - count, self.reports - count, self.dead_letters - count)


class _Writer(msgspec.Struct, frozen=True):
    virtualtransaction: str


class Follower:
    """Looks at the tables again and again, over any connection: what it knows outlives one that is lost."""

    def __init__(self, source: str | None = None) -> None:
        """Follows the events of this source, or of all."""
        self._source = source
        self._largest = Ids(0, 0, 0)  # what the last look asked for first
        self._writers: dict[str, Ids] = {}  # those of the last look, each with ids below all that it has drawn
        self._floor = Ids(0, 0, 0)
        self._seen: dict[str, set[int]] = {table: set() for table in TABLES.values()}  # ids above the floor
        self.is_behind = False  # whether the last look left rows to the next one

    def begin(self, queries: Queries) -> list[FollowedRow]:
        """The latest rows that are there already, at most AT_START_IDS of a table: the looks begin after them. Raises
        psycopg.Error."""
        (largest,) = queries.select(Ids, "tail/largest", {})
        self._floor = self._largest = largest.less(AT_START_IDS)
        return self._look(queries, page=None)

    def look(self, queries: Queries) -> list[FollowedRow]:
        """The rows that became visible since the last look, those of earlier transactions first. Raises psycopg.Error,
        and may then be repeated."""
        return self._look(queries, PAGE)

    def _look(self, queries: Queries, page: int | None) -> list[FollowedRow]:
        (largest,) = queries.select(Ids, "tail/largest", {})
        names = [writer.virtualtransaction for writer in queries.select(_Writer, "tail/writers", {})]
        rows = self._read(queries, page)
        self._writers = {name: self._writers.get(name, self._largest) for name in names}
        self._largest = largest
        read_to = _read_to(rows, page)
        self._note(rows, _smallest([largest, read_to, *self._writers.values()]))
        self.is_behind = read_to != _EVERYTHING
        return sorted(rows, key=lambda row: (-row.age, row.id))

    def _read(self, queries: Queries, page: int | None) -> list[FollowedRow]:
        floor = msgspec.structs.asdict(self._floor)
        seen = {f"seen_{table}": list(ids) for table, ids in self._seen.items()}
        return list(queries.select(FollowedRow, "tail/rows", {**floor, **seen, "source": self._source, "page": page}))

    def _note(self, rows: Iterable[FollowedRow], floor: Ids) -> None:
        for row in rows:
            self._seen[TABLES[row.kind]].add(row.id)
        self._floor = floor
        for table, ids in self._seen.items():
            lowest = getattr(floor, table)
            self._seen[table] = {id for id in ids if id > lowest}


_EVERYTHING = Ids(*[2**63 - 1] * len(TABLES))


def _read_to(rows: Iterable[FollowedRow], page: int | None) -> Ids:
    """Up to which id of each table nothing was left out: to the last that was read where a page is full."""
    ids: dict[str, list[int]] = {table: [] for table in TABLES.values()}
    for row in rows:
        ids[TABLES[row.kind]].append(row.id)
    return Ids(**{table: max(found) if len(found) == page else _EVERYTHING.messages for table, found in ids.items()})


def _smallest(several: Iterable[Ids]) -> Ids:
    """The smallest id in each table."""
    columns = zip(*map(msgspec.structs.astuple, several), strict=True)
    return Ids(*map(min, columns))
