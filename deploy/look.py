"""What commands show: the ledger, one callback with all that became of it, dead letters, the latest callbacks."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from shared.callback import Callback, pack, time_of
from shared.events import dedupe_key
from shared.inbox import COUNTERS, OUTCOMES, Entry, Seen, pending
from shared.source import Source
from workers import parse

Row = dict[str, Any]


class Account(NamedTuple):
    """The ledger of one source, or of all: accepted is the sum of the others, ages aside."""

    accepted: int
    stored: int
    duplicates: int
    dead_letters: int
    ignored: int
    pending: int
    spooled: int
    oldest_pending_seconds: float | None


def accounts(seen: Seen) -> tuple[Account, dict[str, Account]]:
    """The ledger in all and per source. Only the whole inbox knows its oldest entry."""
    none = dict.fromkeys(COUNTERS, 0)
    names = sorted(seen.ledger.keys() | seen.spooled.keys())
    sources = {name: _account(seen.ledger.get(name, none), seen.spooled.get(name, 0), None) for name in names}
    total = {counter: sum(counts[counter] for counts in seen.ledger.values()) for counter in COUNTERS}
    return _account(total, sum(seen.spooled.values()), round(seen.depth.oldest_seconds, 3)), sources


def differences(seen: Seen, waiting: Mapping[str, int]) -> dict[str, int]:
    """By source, how many callbacks more wait in the inbox than the ledger says, where it is not none."""
    names = sorted(seen.ledger.keys() | waiting.keys())
    none = dict.fromkeys(COUNTERS, 0)
    found = {name: waiting.get(name, 0) - pending(seen.ledger.get(name, none)) for name in names}
    return {name: difference for name, difference in found.items() if difference}


def _account(counts: Mapping[str, int], spooled: int, oldest_seconds: float | None) -> Account:
    appended = counts["appended"] - counts["repeat"]
    stored, duplicates, dead, ignored = (counts[outcome] for outcome in OUTCOMES)
    waiting = pending(counts)
    return Account(appended + spooled, stored, duplicates, dead, ignored, waiting, spooled, oldest_seconds)


class Found(NamedTuple):
    """A callback and all that became of it."""

    callback: Row
    messages: list[Row]
    reports: list[Row]
    letters: list[Row]


class Database:
    """Reads the tables, for people."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, connect_timeout=5, row_factory=dict_row)

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def callback(self, id: UUID) -> Found | None:
        """The callback of this id; None when there is none in PostgreSQL (yet)."""
        made = time_of(id)
        found = self._query("callback", {"id": id, "from": made, "to": made + timedelta(milliseconds=1)})
        if not found:
            return None
        key = {"id": id, "received_at": found[0]["received_at"]}
        return Found(found[0], *(self._query(name, key) for name in ("messages", "reports", "letters_of")))

    def letters(self, **filters: Any) -> list[Row]:
        """Dead letters by id, source, reason, since, until and state, at most `limit` of them."""
        nothing = dict.fromkeys(("id", "source", "reason", "since", "until", "state"))
        return self._query("letters", {**nothing, "limit": 1, **filters})

    def conflicts(self, sources: Mapping[str, Source], **filters: Any) -> list[Row]:
        """Events that came again with another content, by source and since, from at most `limit` callbacks.

        Only the raw callback tells what came: it is parsed once more, and its events are looked up by their keys.
        """
        rows = []
        for found in self._query("conflicts", {"source": None, "since": None, **filters}):
            inbox_id = found.pop("inbox_id")
            callback = Callback(**{**found, "body": bytes(found["body"])})
            for event in parse.read(Entry(inbox_id, callback.source, pack(callback)), sources).events:
                for stored in self._query("stored_under", {"source": callback.source, "key": dedupe_key(event)}):
                    if stored["callback_id"] != callback.id:
                        rows.append({**found, **stored, "stored_by": stored["callback_id"], "callback_id": callback.id})
        return rows

    def recent(self, since: datetime, limit: int) -> list[Row]:
        """What the callbacks since then became, one row for each event."""
        return self._query("recent", {"since": since, "limit": limit})

    def _query(self, name: str, parameters: Row) -> list[Row]:
        sql = files("deploy").joinpath("sql", f"{name}.sql").read_bytes()
        return self._connection.execute(sql, parameters).fetchall()
