"""A system without its processes: callbacks of a provider made for the purpose arrive, are drained, and replayed."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from shared import inbox
from shared.callback import Callback, new_id, pack, unpack
from shared.errors import Malformed
from shared.events import DeliveryReport, Event, InboundMessage, Status
from shared.inbox import Reclassifier, Shard
from shared.outcomes import Outcome
from shared.settings import Settings
from shared.source import Source
from tests.keys import INBOX, LEDGER
from workers.database import Database
from workers.dead_letters import ALL, Filter
from workers.drain import read
from workers.drain.drainer import Drainer
from workers.drain.store import Store
from workers.replay import Change, Replayer

TABLES = ("callbacks", "inbound_messages", "delivery_reports", "deliveries", "dead_letters", "replays")
_times = itertools.count()


class Words:
    """A provider whose callbacks are words, each an event `kind:name`. A fix makes it understand one more kind.

    `dr:7=sent` is a receipt, `nul:1` a message that PostgreSQL refuses, END nothing; any other kind is a message.
    """

    HEADERS = frozenset({"x-word"})

    def __init__(self) -> None:
        self.unknown = {"odd", "strange", "WHOLE", "END"}
        self.texts: dict[str, str] = {}

    def parse(self, callback: Callback, source: Source) -> Iterator[Event | Malformed]:
        for word in callback.body.decode().split():
            kind, _, name = word.partition(":")
            if kind in self.unknown:
                if kind in ("WHOLE", "END"):
                    raise Malformed("unknown whole", f"at {len(word)}")
                yield Malformed(f"unknown {kind}", "a word")
            elif kind == "dr":
                message_id, status = name.split("=")
                yield DeliveryReport(key=("dr", name), message_id=message_id, status=Status(status))
            elif kind != "END":
                text = self.texts.get(name, "nul \0 in it" if kind == "nul" else "hello")
                yield InboundMessage(key=("mo", name), message_id=name, text=text)


class Scene:
    """A running system without its processes."""

    def __init__(
        self, url: str, client: Shard, database: Database, rows: Callable[[str], list[dict[str, Any]]], words: Words
    ) -> None:
        self.url, self.client, self.database, self.rows, self.words = url, client, database, rows, words
        self.sources = {name: Source(name, "emnify", unsigned=True) for name in ("s", "t")}

    def append(self, *bodies: bytes, source: str = "s", packed: Callable[[Callback], bytes] = pack) -> list[UUID]:
        ids = []
        for body in bodies:
            now = datetime.now(UTC) + timedelta(milliseconds=next(_times))
            callback = Callback(
                id=new_id(now),
                source=source,
                provider="emnify",
                received_at=now,
                method="POST",
                query="a=1",
                headers={"x-word": "kept"},
                body=body,
                remote_ip="192.0.2.7",
            )
            self.enter(source, packed(callback))
            ids.append(callback.id)
        return ids

    def enter(self, source: str, packed: bytes) -> None:
        self.client.xadd(INBOX, {"s": source, "c": packed})
        self.client.hincrby(LEDGER, f"{source}:appended", 1)

    def drain(self) -> None:
        Drainer(
            self.client,
            "one",
            lambda: None,
            Store(self.database),
            self.sources,
            Settings(linger_seconds=0.01),
        ).run()
        assert self.client.xlen(INBOX) == 0

    def arrive(self, *bodies: bytes, **options: Any) -> list[UUID]:
        ids = self.append(*bodies, **options)
        self.drain()
        return ids

    def fix(self, *words: str) -> None:
        self.words.unknown -= set(words)

    def read_the_later_format(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(read, "unpack", lambda packed: unpack(packed.removeprefix(b"LATER")))

    def replayer(self, database: Database | None = None, **options: Any) -> Replayer:
        given = {"rate": 10_000.0, "reclassifier": Reclassifier([self.client]), **options}
        return Replayer(database=database or self.database, sources=self.sources, **given)

    def replay(self, wanted: Filter = ALL, **options: Any) -> Counter[Change]:
        changes: Counter[Change] = Counter()
        self.replayer(**options).run(wanted, changes.update)
        return changes

    def ledger(self, source: str = "s") -> dict[str, int]:
        return {name: count for name, count in inbox.take_snapshot(self.client).ledger[source].items() if count}

    def outcomes(self) -> list[str]:
        """In the order of arrival."""
        return [row["outcome"] for row in self.rows("SELECT outcome FROM callbacks ORDER BY received_at, id")]

    def dead_letters(self) -> list[tuple[int, str, str, int]]:
        found = self.rows("SELECT item, state, reason, attempts FROM dead_letters ORDER BY callback_id, item")
        return [(row["item"], row["state"], row["reason"], row["attempts"]) for row in found]

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        return {table: self.rows(f"SELECT * FROM {table} AS t ORDER BY t::text") for table in TABLES}

    def assert_adds_up(self) -> None:
        """The ledger says what is in the tables."""
        counted: Counter[str] = Counter()
        for counts in inbox.take_snapshot(self.client).ledger.values():
            counted.update({what: counts[what] for what in Outcome})
        assert +counted == Counter(self.outcomes())
        assert inbox.take_snapshot(self.client).difference == 0


def packed_by_a_later_release(callback: Callback) -> bytes:
    """A format that the workers do not read, until they are replaced."""
    return b"LATER" + pack(callback)
