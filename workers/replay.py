"""Replays: raw callbacks that were not understood are parsed once more, after a fix, each in one transaction.

The row of the callback is stored anew, by the same statement as ever, so that its events come in as if it had arrived
now; events that it brought before stay as they are. Dead letters whose trouble is gone become `replayed`, the others
stay open. What changed is put on record in `replays`, and the ledger is moved by that record: at once, or, when this
process dies in between, by the next run. Replaying twice is replaying once.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from redis import RedisError

from shared.callback import Callback, pack, time_of
from shared.errors import Unavailable
from shared.events import Event, dedupe_key
from shared.inbox import Entry, Move, Mover
from shared.source import Source
from workers import letters, parse
from workers.letters import Wanted
from workers.parse import WHOLE, Letter, Parsed
from workers.store import REFUSALS, Store, refusal
from workers.write import Connection, write

SETTLE_SECONDS = 1.0  # between two moves of the ledger during a run
SETTLE_COUNT = 500  # replays in one of them

GONE = "left alone: its raw callback is no more"
WAITING = "left alone: it still waits in the inbox"  # its outcome is not counted yet: it can be replayed in a moment

_SQL = {file.name.removesuffix(".sql"): file.read_bytes() for file in files("workers").joinpath("sql/replay").iterdir()}

T = TypeVar("T")


class Open(NamedTuple):
    """An open dead letter of a callback."""

    id: int
    item: int
    reason: str


class Change(NamedTuple):
    """What a replay made of one dead letter: `became` is the callback's new outcome (or `repeat`), or says why the
    letter is still open."""

    reason: str
    became: str


class _Row(Callback, frozen=True, kw_only=True):
    """A row of `callbacks`."""

    inbox_id: str
    outcome: str
    conflict: bool


class _Trial(NamedTuple):
    """What one transaction did: to the letters, the events that it brought, and the true id of what was a stand-in."""

    changes: list[Change]
    brought: Sequence[bytes] = ()
    true_id: UUID | None = None


class Replayer:
    """Replays with the sources of today, at most `rate` callbacks a second. When `dry`, each transaction is done and
    then taken back, and neither the record nor the ledger is touched."""

    def __init__(
        self,
        store: Store,
        mover: Mover,
        sources: Mapping[str, Source],
        rate: float,
        dry: bool = False,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._mover = mover
        self._sources = sources
        self._pause_seconds = 1 / rate
        self._dry = dry
        self._now = now
        self._sleep = sleep
        self._brought: set[bytes] = set()  # by this dry run: the next callback would find them in PostgreSQL
        self._true_ids: set[UUID] = set()  # of the stand-ins that were replayed

    def run(self, wanted: Wanted, tell: Callable[[Sequence[Change]], None]) -> None:
        """Replays the callbacks whose open letters match, and tells of each what became of all its open letters.

        Raises Unavailable or redis.RedisError: what was told is done, the rest is as it was. May be interrupted.
        """
        self.settle()
        due, settled_at = self._now(), self._now()
        try:
            for id in letters.callbacks(self._store, wanted):
                if id in self._true_ids:
                    continue
                if (pause := due - self._now()) > 0:
                    self._sleep(pause)
                due = max(due, self._now()) + self._pause_seconds
                tell(self.replay(id))
                if self._now() - settled_at >= SETTLE_SECONDS:
                    self.settle()
                    settled_at = self._now()
        except BaseException:
            self._store.close()  # and with it whatever was being done
            with suppress(Unavailable, RedisError):
                self.settle()
            raise
        self.settle()

    def replay(self, id: UUID) -> list[Change]:
        """Replays one callback; what became of its open letters. Leaves the ledger for `settle`."""
        trial = self._do(lambda connection: self._replay(connection, id))
        if self._dry:
            self._brought.update(trial.brought)
        if trial.true_id:
            self._true_ids.add(trial.true_id)
        return trial.changes

    def settle(self) -> None:
        """Moves the ledger for all replays on record that it does not count yet, whoever did them."""
        while not self._dry and (moves := self._do(self._settle)):
            self._mover.forget(moves)

    def _do(self, work: Callable[[Connection], T]) -> T:
        try:
            return self._store.run(work, rollback=self._dry)
        except REFUSALS as error:
            raise Unavailable(f"PostgreSQL cannot do it ({refusal(error).letter.detail})") from None

    def _settle(self, connection: Connection) -> list[Move]:
        moves = [Move(*row) for row in connection.execute(_SQL["unsettled"], {"page": SETTLE_COUNT})]
        if moves:
            self._mover.move(moves)
            connection.execute(_SQL["settled"], {"ids": [move.replay for move in moves]})
        return moves

    def _replay(self, connection: Connection, id: UUID) -> _Trial:
        waiting = [Open(*row) for row in connection.execute(_SQL["lock"], {"id": id})]
        row = _read_row(connection, id) if waiting else None
        if row is None:
            return _Trial([Change(letter.reason, GONE) for letter in waiting])
        if not self._mover.is_counted(row.inbox_id):
            return _Trial([Change(letter.reason, WAITING) for letter in waiting])
        parsed = parse.read(Entry(row.inbox_id, row.source, _packed(row)), self._sources)
        try:
            with connection.transaction():
                if parsed.callback.id == row.id and not _reach(parsed):
                    return _keep_open(connection, waiting, parsed.letters[-1])
                return self._store_anew(connection, row, waiting, parsed)
        except REFUSALS as error:
            return _keep_open(connection, waiting, refusal(error).letter)

    def _store_anew(self, connection: Connection, row: _Row, waiting: Sequence[Open], parsed: Parsed) -> _Trial:
        callback = parsed.callback
        stood_in = row.id if callback.id != row.id else None
        mark = {"id": callback.id, "stood_in": stood_in, "source": callback.source, "provider": callback.provider}
        new = self._new_events(connection, row, parsed)
        if stood_in:
            connection.execute(_SQL["adopt"], mark)
        connection.execute(_SQL["forget"], {"id": row.id, "received_at": row.received_at})
        (result,) = write(connection, [parsed._replace(events=[event for _, event in new])])
        repeat = result.repeat or (stood_in is not None and callback.id in self._true_ids)
        after = "repeat" if repeat else _outcome(row, parsed, result.outcome)
        if not repeat:
            kept = {"outcome": after, "conflict": row.conflict}
            connection.execute(_SQL["keep"], {**kept, "id": callback.id, "received_at": callback.received_at})
        fates = [(letter, None if repeat else _trouble(letter, parsed)) for letter in waiting]
        _update(connection, fates)
        if stood_in:
            connection.execute(_SQL["drop"], mark)
        gone = sum(trouble is None for _, trouble in fates)
        if gone or stood_in or after != row.outcome:
            said = {"source": row.source, "before": row.outcome, "after": after, "letters": gone}
            connection.execute(_SQL["record"], {**mark, **said})
        brought = [name for name, _ in new] if after == "stored" else []
        changes = [_change(letter, trouble, after, parsed) for letter, trouble in fates]
        return _Trial(changes, brought, callback.id if stood_in else None)

    def _new_events(self, connection: Connection, row: _Row, parsed: Parsed) -> list[tuple[bytes, Event]]:
        """The events that this callback did not bring before. The others stay as they are: another reading of them is
        no new event, and no conflict."""
        keyed = [(dedupe_key(event), event) for event in parsed.events]
        known: set[bytes] = set()
        if row.outcome == "stored":
            its = {"id": row.id, "source": row.source, "keys": [key for key, _ in keyed]}
            known = {bytes(key) for (key,) in connection.execute(_SQL["own"], its)}
        named = [(key + row.source.encode(), event) for key, event in keyed if key not in known]
        return [it for it in named if it[0] not in self._brought]


def _read_row(connection: Connection, id: UUID) -> _Row | None:
    made = time_of(id)
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        cursor.execute(_SQL["raw"], {"id": id, "from": made, "to": made + timedelta(milliseconds=1)})
        return cursor.fetchone()


def _packed(row: _Row) -> bytes:
    """The entry that brought the callback."""
    return row.body if row.id == parse.stand_in_id(row.inbox_id) else pack(row)


def _reach(parsed: Parsed) -> float:
    """Up to which item the callback could be read."""
    items = len(parsed.events) + sum(letter.item != WHOLE for letter in parsed.letters)
    return items if any(letter.item == WHOLE for letter in parsed.letters) else float("inf")


def _trouble(letter: Open, parsed: Parsed) -> Letter | None:
    """What still is the matter with it; None when its trouble is gone."""
    today = {it.item: it for it in parsed.letters}
    return today.get(letter.item) or (today[WHOLE] if letter.item >= _reach(parsed) else None)


def _outcome(row: _Row, parsed: Parsed, stored: str) -> str:
    """The outcome of a callback, of which the events that were known before were not stored again."""
    if row.outcome == "stored":
        return "stored"
    return "duplicate" if stored == "ignored" and parsed.events else stored


def _change(letter: Open, trouble: Letter | None, after: str, parsed: Parsed) -> Change:
    if trouble:
        return Change(letter.reason, f"still dead: {trouble.reason}")
    if after == "dead":  # because of other letters than this one
        return Change(letter.reason, f"still dead: {parsed.letters[0].reason}" if letter.item == WHOLE else "duplicate")
    return Change(letter.reason, after)


def _keep_open(connection: Connection, waiting: Sequence[Open], trouble: Letter) -> _Trial:
    _update(connection, [(letter, trouble) for letter in waiting])
    return _Trial([Change(letter.reason, f"still dead: {trouble.reason}") for letter in waiting])


def _update(connection: Connection, fates: Sequence[tuple[Open, Letter | None]]) -> None:
    """Counts the try, and puts down what is the matter today; a configuration that lacks the source tells nothing."""
    rows: list[dict[str, Any]] = []
    for letter, trouble in fates:
        said = {} if trouble is None or trouble.stage == "source" else trouble._asdict()
        rows.append({**said, "id": letter.id, "gone": trouble is None})
    connection.execute(_SQL["letters"], {"letters": msgspec.json.encode(rows).decode()})
