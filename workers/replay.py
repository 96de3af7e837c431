"""Replays: raw callbacks that were not understood are parsed once more, after a fix, each in one transaction.

The row of the callback is stored anew, by the drain's own statement, so that its events are stored as if it had arrived
now; events that it brought before stay as they are. Dead letters that are understood now become `replayed`, the others
stay open. What changed is recorded in `replays`, and the ledger is corrected by that record: at once, or, when this
process dies in between, by the next run. Replaying twice is replaying once.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from shared.callback import pack
from shared.errors import Unavailable
from shared.events import Event, dedupe_key
from shared.inbox import REPEAT, Entry, Reclassification, Reclassifier
from shared.outcomes import Outcome, Stage
from shared.source import Source
from workers import dead_letters
from workers.connection import Connection
from workers.database import REFUSALS, Database
from workers.dead_letters import WHOLE, DeadLetter, Filter
from workers.drain import read
from workers.drain.read import Parsed
from workers.drain.store import refusal
from workers.queries import CallbackRow, find_callback
from workers.rows import write
from workers.statements import sql

COUNT_SECONDS = 1.0  # between two corrections of the ledger during a run
COUNT_PAGE = 500  # replays in one of them

GONE = "left alone: its raw callback no longer exists"
WAITING = "left alone: it still waits in the inbox"  # its outcome is not counted yet: it can be replayed in a moment

T = TypeVar("T")


class Open(NamedTuple):
    """An open dead letter of a callback."""

    id: int
    item: int
    reason: str


class Change(NamedTuple):
    """What a replay made of one dead letter: `became` is the callback's new outcome (or `repeat`), or the reason why
    the dead letter is still open."""

    reason: str
    became: str


class _Trial(NamedTuple):
    """What one transaction did: to the dead letters, the events it brought, and the true id of what was a stand-in."""

    changes: list[Change]
    brought: Sequence[bytes] = ()
    true_id: UUID | None = None


class Replayer:
    """Replays with the sources of today, at most `rate` callbacks a second. When `dry`, each transaction is done and
    then taken back, and neither the record nor the ledger is touched."""

    def __init__(
        self,
        database: Database,
        reclassifier: Reclassifier,
        sources: Mapping[str, Source],
        rate: float,
        dry: bool = False,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._reclassifier = reclassifier
        self._sources = sources
        self._pause_seconds = 1 / rate
        self._dry = dry
        self._now = now
        self._sleep = sleep
        self._brought: set[bytes] = set()  # by this dry run: the next callback would find them in PostgreSQL
        self._true_ids: set[UUID] = set()  # of the stand-ins that were replayed

    def run(self, wanted: Filter, report: Callable[[Sequence[Change]], None]) -> None:
        """Replays the callbacks whose open dead letters match, and reports what became of all open ones of each.

        Raises Unavailable: what was reported is done, the rest is as it was. May be interrupted.
        """
        self.count()
        due, counted_at = self._now(), self._now()
        try:
            for id in dead_letters.callbacks(self._database, wanted):
                if id in self._true_ids:
                    continue
                if (pause := due - self._now()) > 0:
                    self._sleep(pause)
                due = max(due, self._now()) + self._pause_seconds
                report(self.replay(id))
                if self._now() - counted_at >= COUNT_SECONDS:
                    self.count()
                    counted_at = self._now()
        except BaseException:
            self._database.close()  # and with it whatever was being done
            with suppress(Unavailable):
                self.count()
            raise
        self.count()

    def replay(self, id: UUID) -> list[Change]:
        """Replays one callback; what became of its open dead letters. Leaves the ledger to `count`."""
        trial = self._do(lambda connection: self._replay(connection, id))
        if self._dry:
            self._brought.update(trial.brought)
        if trial.true_id:
            self._true_ids.add(trial.true_id)
        return trial.changes

    def count(self) -> None:
        """Corrects the ledger for all recorded replays that it does not count yet, whoever did them."""
        while not self._dry and (changes := self._do(self._count)):
            self._reclassifier.forget(changes)

    def _do(self, work: Callable[[Connection], T]) -> T:
        try:
            return self._database.run(work, rollback=self._dry)
        except REFUSALS as error:
            raise Unavailable(f"PostgreSQL cannot do it ({refusal(error).dead_letter.detail})") from None

    def _count(self, connection: Connection) -> list[Reclassification]:
        changes = [Reclassification(*row) for row in connection.execute(sql("replay/uncounted"), {"page": COUNT_PAGE})]
        if changes:
            self._reclassifier.reclassify(changes)
            connection.execute(sql("replay/counted"), {"ids": [change.replay for change in changes]})
        return changes

    def _replay(self, connection: Connection, id: UUID) -> _Trial:
        waiting = [Open(*row) for row in connection.execute(sql("replay/lock"), {"id": id})]
        row = find_callback(connection, id) if waiting else None
        if row is None:
            return _Trial([Change(dead_letter.reason, GONE) for dead_letter in waiting])
        if not self._reclassifier.is_counted(row.inbox_id):
            return _Trial([Change(dead_letter.reason, WAITING) for dead_letter in waiting])
        parsed = read.read(Entry(row.inbox_id, row.source, _packed(row)), self._sources)
        try:
            with connection.transaction():
                if parsed.callback.id == row.id and not _reach(parsed):
                    return _keep_open(connection, waiting, parsed.dead_letters[-1])
                return self._store_anew(connection, row, waiting, parsed)
        except REFUSALS as error:
            return _keep_open(connection, waiting, refusal(error).dead_letter)

    def _store_anew(self, connection: Connection, row: CallbackRow, waiting: Sequence[Open], parsed: Parsed) -> _Trial:
        callback = parsed.callback
        stood_in = row.id if callback.id != row.id else None
        mark = {"id": callback.id, "stood_in": stood_in, "source": callback.source, "provider": callback.provider}
        new = self._new_events(connection, row, parsed)
        if stood_in:
            connection.execute(sql("replay/adopt"), mark)
        connection.execute(sql("replay/forget"), {"id": row.id, "received_at": row.received_at})
        (result,) = write(connection, [parsed._replace(events=[event for _, event in new])])
        repeat = result.repeat or (stood_in is not None and callback.id in self._true_ids)
        after = REPEAT if repeat else _outcome(row, parsed, result.outcome)
        if not repeat:
            kept = {"outcome": after, "conflict": row.conflict}
            connection.execute(sql("replay/keep"), {**kept, "id": callback.id, "received_at": callback.received_at})
        fates = [(dead_letter, None if repeat else _still_dead(dead_letter, parsed)) for dead_letter in waiting]
        _update(connection, fates)
        if stood_in:
            connection.execute(sql("replay/drop"), mark)
        gone = sum(still_dead is None for _, still_dead in fates)
        if gone or stood_in or after != row.outcome:
            record = {"source": row.source, "before": row.outcome, "after": after, "letters": gone}
            connection.execute(sql("replay/record"), {**mark, **record})
        brought = [name for name, _ in new] if after == Outcome.STORED else []
        changes = [_change(dead_letter, still_dead, after, parsed) for dead_letter, still_dead in fates]
        return _Trial(changes, brought, callback.id if stood_in else None)

    def _new_events(self, connection: Connection, row: CallbackRow, parsed: Parsed) -> list[tuple[bytes, Event]]:
        """The events that this callback did not bring before. The others stay as they are: another reading of them is
        no new event, and no conflict."""
        keyed = [(dedupe_key(event), event) for event in parsed.events]
        known: set[bytes] = set()
        if row.outcome is Outcome.STORED:
            brought = {"id": row.id, "source": row.source, "keys": [key for key, _ in keyed]}
            known = {bytes(key) for (key,) in connection.execute(sql("replay/own"), brought)}
        named = [(key + row.source.encode(), event) for key, event in keyed if key not in known]
        return [(name, event) for name, event in named if name not in self._brought]


def _packed(row: CallbackRow) -> bytes:
    """The entry that brought the callback."""
    return row.body if row.id == read.stand_in_id(row.inbox_id) else pack(row)


def _reach(parsed: Parsed) -> float:
    """Up to which item the callback could be read."""
    items = len(parsed.events) + sum(dead_letter.item != WHOLE for dead_letter in parsed.dead_letters)
    return items if any(dead_letter.item == WHOLE for dead_letter in parsed.dead_letters) else float("inf")


def _still_dead(dead_letter: Open, parsed: Parsed) -> DeadLetter | None:
    """Why it is still not understood; None when it is."""
    now = {each.item: each for each in parsed.dead_letters}
    return now.get(dead_letter.item) or (now[WHOLE] if dead_letter.item >= _reach(parsed) else None)


def _outcome(row: CallbackRow, parsed: Parsed, stored: Outcome) -> Outcome:
    """The outcome of a callback, of which the events that were known before were not stored again."""
    if row.outcome is Outcome.STORED:
        return Outcome.STORED
    return Outcome.DUPLICATE if stored is Outcome.IGNORED and parsed.events else stored


def _change(dead_letter: Open, still_dead: DeadLetter | None, after: str, parsed: Parsed) -> Change:
    if still_dead:
        return Change(dead_letter.reason, f"still dead: {still_dead.reason}")
    if after == Outcome.DEAD:  # because of other dead letters than this one
        return Change(
            dead_letter.reason,
            f"still dead: {parsed.dead_letters[0].reason}" if dead_letter.item == WHOLE else "duplicate",
        )
    return Change(dead_letter.reason, after)


def _keep_open(connection: Connection, waiting: Sequence[Open], still_dead: DeadLetter) -> _Trial:
    _update(connection, [(dead_letter, still_dead) for dead_letter in waiting])
    return _Trial([Change(dead_letter.reason, f"still dead: {still_dead.reason}") for dead_letter in waiting])


def _update(connection: Connection, fates: Sequence[tuple[Open, DeadLetter | None]]) -> None:
    """Counts the attempt, and records why each is still dead; a configuration without the source has no new reason."""
    rows: list[dict[str, Any]] = []
    for dead_letter, still_dead in fates:
        columns = {} if still_dead is None or still_dead.stage is Stage.SOURCE else still_dead.columns()
        rows.append({**columns, "id": dead_letter.id, "gone": still_dead is None})
    connection.execute(sql("replay/dead_letters"), {"letters": msgspec.json.encode(rows).decode()})
