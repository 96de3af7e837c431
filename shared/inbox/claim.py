"""A worker's end of the inbox."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import redis
from redis.exceptions import OutOfMemoryError, ResponseError

from shared import doorbell
from shared.callback import new_id
from shared.inbox.client import text_of
from shared.inbox.hold import held_field
from shared.inbox.keys import GROUP, HOLDER, HOLDS, INBOX, KINDS, LEDGER, ODDITIES, script

ODDITY_KINDS = 100  # of one source, each counted by its phrase; all other kinds are counted together, as OTHER_ODDITIES
ODDITIES_NAMED = 20  # of one callback, at most; a list may bring 5,000 kinds at once
OTHER_ODDITIES = "other"

_FREE_MS = 3_600_000  # older than any reclaim limit: free for the next worker
_ACKNOWLEDGE, _LEAVE, _HOLD = script("acknowledge"), script("leave"), script("hold")


class Entry(NamedTuple):
    """A claimed callback, still packed. `id` is the stream's; `deliveries` counts the workers that took it, this one
    included, save those that handed it back."""

    id: str
    source: str
    packed: bytes
    deliveries: int = 1


class Abandoned(NamedTuple):
    """An entry whose claim was handed back, or not renewed in time: its worker is gone, or hangs."""

    id: str
    deliveries: int


class Settled(NamedTuple):
    """What became of an entry, and what was odd about its callback: short phrases without data."""

    entry: Entry
    outcome: str
    oddities: Sequence[str] = ()


class Claimer:
    """One consumer. Each method raises redis.RedisError when Redis is away: Celery's business, as its broker."""

    def __init__(self, client: redis.Redis, consumer: str) -> None:
        self.client = client
        self.consumer = consumer
        self._acknowledge = client.register_script(_ACKNOWLEDGE)
        self._leave = client.register_script(_LEAVE)
        self._hold = client.register_script(_HOLD)

    def claim(self, count: int, linger_seconds: float) -> list[Entry]:
        """Up to `count` entries that nobody claimed yet, waiting a moment for the first."""
        milliseconds = max(1, round(linger_seconds * 1000))
        answer = self._in_group(
            lambda: self.client.xreadgroup(GROUP, self.consumer, {INBOX: ">"}, count=count, block=milliseconds)
        )
        return [_entry(item, 1) for _, items in _pairs(answer) for item in items]

    def abandoned(self, count: int, idle_seconds: float) -> list[Abandoned]:
        """Up to `count` entries whose claim was not renewed for so long; those of held sources are nobody's to take."""
        consumers: Any = self._in_group(lambda: self.client.xinfo_consumers(INBOX, GROUP))
        found: list[Abandoned] = []
        for name in (it["name"] for it in consumers if it["pending"] and not text_of(it["name"]).startswith(HOLDER)):
            pending = self._pending(name, count - len(found), idle_seconds)
            found += (Abandoned(text_of(it["message_id"]), it["times_delivered"]) for it in pending)
            if len(found) >= count:
                break
        return found

    def take(self, abandoned: Sequence[Abandoned], idle_seconds: float) -> list[Entry]:
        """Claims these, unless another worker was faster. What is pending but no more in the stream is forgotten."""
        if not abandoned:
            return []
        deliveries = dict(abandoned)
        ids: list[Any] = list(deliveries)
        claimed: Any = self.client.xclaim(INBOX, GROUP, self.consumer, round(idle_seconds * 1000), ids)
        return [_entry(item, deliveries[text_of(item[0])] + 1) for item in claimed if item and item[0]]

    def renew(self, entries: Iterable[Entry]) -> None:
        """Keeps the claim while PostgreSQL is waited for, without counting as another delivery."""
        ids: list[Any] = [entry.id for entry in entries]
        if ids:
            self.client.xclaim(INBOX, GROUP, self.consumer, 0, ids, idle=0, justid=True)

    def hand_back(self, entries: Iterable[Entry], blamed: bool = False) -> None:
        """Lets any worker take these at once. This delivery counts only where the entry is `blamed` for it."""
        by_deliveries = attrgetter("deliveries")
        for deliveries, its in groupby(sorted(entries, key=by_deliveries), by_deliveries):
            ids: list[Any] = [entry.id for entry in its]
            count = deliveries if blamed else deliveries - 1
            self.client.xclaim(INBOX, GROUP, self.consumer, 0, ids, idle=_FREE_MS, retrycount=count, justid=True)

    def hold(self, source: str, entries: Iterable[Entry]) -> bool:
        """Sets entries of a held source aside, in the stream, where no worker takes them; False, and nothing is done,
        when the source is not held any more."""
        arguments: list[Any] = [GROUP, HOLDER + source, held_field(source)]
        for entry in entries:
            arguments += (entry.id, entry.deliveries - 1)
        return bool(self._hold(keys=[INBOX, HOLDS], args=arguments))

    def held(self, source: str, count: int) -> list[Entry]:
        """Claims the oldest of a held source's entries, for a trial."""
        its = [Abandoned(text_of(it["message_id"]), it["times_delivered"]) for it in self._pending_held(source, count)]
        return self.take(its, 0)

    def held_counts(self) -> dict[str, int]:
        """How many entries are set aside, by source."""
        consumers: Any = self._in_group(lambda: self.client.xinfo_consumers(INBOX, GROUP))
        named = {text_of(it["name"]): it["pending"] for it in consumers}
        return {name.removeprefix(HOLDER): count for name, count in named.items() if name.startswith(HOLDER)}

    def free(self, source: str) -> None:
        """Lets any worker take the entries that were set aside for a source."""
        while held := self._pending_held(source, 1000):
            ids = [it["message_id"] for it in held]
            self.client.xclaim(INBOX, GROUP, self.consumer, 0, ids, idle=_FREE_MS, justid=True)

    def acknowledge(self, settled: Iterable[Settled]) -> int:
        """Takes the entries out and counts what became of them, in one step; how many were still there to take."""
        arguments: list[Any] = [GROUP, ODDITY_KINDS, OTHER_ODDITIES]
        for entry, outcome, oddities in settled:
            named, others = oddities[:ODDITIES_NAMED], len(oddities[ODDITIES_NAMED:])
            arguments += (entry.id, entry.source, outcome, "\n".join(named), others)
        taken: int = self._acknowledge(keys=[INBOX, LEDGER, ODDITIES, KINDS], args=arguments)
        return taken

    def ring(self, now: datetime) -> None:
        """Asks for another drain, unless one is asked for already. A Redis without memory takes no ring: the drain
        that makes room must go on all the same."""
        with suppress(OutOfMemoryError):
            if self.client.llen(doorbell.QUEUE) == 0:
                self.client.lpush(doorbell.QUEUE, doorbell.ring(new_id(now)))

    def leave(self) -> None:
        """Takes this consumer's name off the group, if nothing is pending under it."""
        self._in_group(lambda: self._leave(keys=[INBOX], args=[GROUP, self.consumer]))

    def _pending(self, consumer: Any, count: int, idle_seconds: float) -> Any:
        return self._in_group(
            lambda: self.client.xpending_range(
                INBOX, GROUP, min="-", max="+", count=count, consumername=consumer, idle=round(idle_seconds * 1000)
            )
        )

    def _pending_held(self, source: str, count: int) -> Any:
        return self._pending(HOLDER + source, count, 0)

    def _in_group(self, call: Any) -> Any:
        try:
            return call()
        except ResponseError as error:
            if "NOGROUP" not in str(error) and "no such key" not in str(error):
                raise
        try:
            self.client.xgroup_create(INBOX, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        return call()


def _pairs(answer: Any) -> Iterable[tuple[Any, Any]]:
    return answer.items() if isinstance(answer, dict) else answer or ()


def _entry(item: Any, deliveries: int) -> Entry:
    id, fields = item
    fields = fields or {}
    return Entry(text_of(id), fields.get(b"s", b"").decode(errors="replace"), fields.get(b"c", b""), deliveries)
