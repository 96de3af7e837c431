"""A worker's end of the inbox: what it claims, keeps, hands back and acknowledges."""

import time
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from shared.inbox.client import Shard, text_of
from shared.inbox.errors import or_unavailable
from shared.inbox.group import FREE_MS, Abandoned, abandoned, in_group
from shared.inbox.keys import GROUP, script

ODDITY_KINDS = 100  # of one source, each counted by its phrase; all other kinds are counted together, as OTHER_ODDITIES
ODDITIES_NAMED = 20  # of one callback, at most; a list may bring 5,000 kinds at once
OTHER_ODDITIES = "other"
MARK_SECONDS = 1.0  # between two marks of a worker that is active


class Entry(NamedTuple):
    """A claimed callback, still packed. `id` is the stream's; `deliveries` counts the workers that took it, this one
    included, without those that handed it back."""

    id: str
    source: str
    packed: bytes
    deliveries: int = 1
    shard: int = 0

    @property
    def inbox_id(self) -> str:
        """Its id among the entries of all shards, as `callbacks.inbox_id` has it."""
        return f"{self.id}@{self.shard}" if self.shard else self.id


class Done(NamedTuple):
    """An entry whose callback is in PostgreSQL: the counter of the ledger that it raises (an Outcome, or REPEAT), and
    what was odd about it, in short phrases without data."""

    entry: Entry
    counter: str
    oddities: Sequence[str] = ()


class Consumer:
    """One member of the consumer group. Each method raises RedisUnavailable."""

    def __init__(self, shard: Shard, name: str) -> None:
        self.name = name
        self._shard = shard
        self._names = shard.names
        self._acknowledge = shard.register_script(script("acknowledge"))
        self._leave = shard.register_script(script("leave"))
        self._mark = shard.register_script(script("mark"))
        self._marked_at = float("-inf")

    @or_unavailable
    def claim(self, count: int, linger_seconds: float) -> list[Entry]:
        """Up to `count` unclaimed entries, waiting up to `linger_seconds` for the first."""
        self._mark_active()
        milliseconds = max(1, round(linger_seconds * 1000))
        answer: Any = in_group(
            self._shard,
            lambda: self._shard.xreadgroup(GROUP, self.name, {self._names.inbox: ">"}, count=count, block=milliseconds),
        )
        streams = answer.items() if isinstance(answer, dict) else answer or ()
        return [self._entry(item, 1) for _, items in streams for item in items]

    @or_unavailable
    def abandoned(self, count: int, idle_seconds: float) -> list[Abandoned]:
        """Up to `count` entries whose claim was not renewed for that long; entries of held sources are skipped."""
        return abandoned(self._shard, count, idle_seconds)

    @or_unavailable
    def take(self, abandoned: Sequence[Abandoned], idle_seconds: float) -> list[Entry]:
        """Claims these, unless another worker was faster. What is pending but no longer in the stream is forgotten."""
        if not abandoned:
            return []
        deliveries = dict(abandoned)
        ids: list[Any] = list(deliveries)
        claimed: Any = self._shard.xclaim(self._names.inbox, GROUP, self.name, round(idle_seconds * 1000), ids)
        return [self._entry(item, deliveries[text_of(item[0])] + 1) for item in claimed if item and item[0]]

    @or_unavailable
    def renew(self, entries: Collection[Entry]) -> None:
        """Keeps the claim while PostgreSQL is waited for, without counting as another delivery."""
        self._mark_active()
        ids: list[Any] = [entry.id for entry in entries]
        if ids:
            self._shard.xclaim(self._names.inbox, GROUP, self.name, 0, ids, idle=0, justid=True)

    @or_unavailable
    def hand_back(self, entries: Iterable[Entry], blamed: bool = False) -> None:
        """Lets any worker take these at once. This delivery counts only where the entry is `blamed` for it."""
        by_deliveries = attrgetter("deliveries")
        for deliveries, group in groupby(sorted(entries, key=by_deliveries), by_deliveries):
            ids: list[Any] = [entry.id for entry in group]
            count = deliveries if blamed else deliveries - 1
            self._shard.xclaim(self._names.inbox, GROUP, self.name, 0, ids, idle=FREE_MS, retrycount=count, justid=True)

    @or_unavailable
    def acknowledge(self, done: Iterable[Done]) -> int:
        """Takes the entries out of the inbox and counts them in one step; returns how many were still there."""
        arguments: list[Any] = [GROUP, ODDITY_KINDS, OTHER_ODDITIES]
        for entry, counter, oddities in done:
            named, others = oddities[:ODDITIES_NAMED], len(oddities[ODDITIES_NAMED:])
            arguments += (entry.id, entry.source, counter, "\n".join(named), others)
        names = self._names
        keys = [names.inbox, names.ledger, names.oddities, names.kinds]
        taken: int = self._acknowledge(keys=keys, args=arguments)
        return taken

    @or_unavailable
    def leave(self) -> None:
        """Takes this consumer's name off the group, unless something is pending under it."""
        in_group(self._shard, lambda: self._leave(keys=[self._names.inbox, self._names.marks], args=[GROUP, self.name]))

    def _mark_active(self) -> None:
        if time.monotonic() - self._marked_at >= MARK_SECONDS:
            self._mark(keys=[self._names.marks], args=[self.name])
            self._marked_at = time.monotonic()

    def _entry(self, item: Any, deliveries: int) -> Entry:
        id, fields = item
        fields = fields or {}
        source = fields.get(b"s", b"").decode(errors="replace")
        return Entry(text_of(id), source, fields.get(b"c", b""), deliveries, self._names.number)
