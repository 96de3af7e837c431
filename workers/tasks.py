"""The drain: claims callbacks from the inbox, parses and stores them, and only then acknowledges them (promise P2).

One drain empties the inbox for as long as there is anything in it and its time is not up. Many may run at once, on
any number of hosts; each entry is claimed by one of them, and what a worker that is gone had claimed is reclaimed.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from redis import RedisError

from shared import logs
from shared.config import Settings, Source
from shared.errors import Unavailable
from shared.inbox import Claimer, Entry, Settled
from workers import parse
from workers.store import Result, Store

CONFLICT = "conflict"  # the oddity of a callback that repeats the key of an event with another content
PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)  # while PostgreSQL is away; the last one repeats

log = logs.get(__name__)


class Drain:
    """What one worker process needs to drain, kept from drain to drain."""

    def __init__(
        self,
        claimer: Claimer,
        store: Store,
        sources: Mapping[str, Source],
        settings: Settings,
        stopping: Callable[[], bool],
        now: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._claimer = claimer
        self._store = store
        self._sources = sources
        self._settings = settings
        self._stopping = stopping
        self._now = now
        self._sleep = sleep
        self._reclaimed_at = float("-inf")

    def run(self) -> dict[str, int]:
        """Drains until the inbox stays empty or the time is up; counts what it did (shown by Flower).

        Raises Unavailable when Redis is away.
        """
        started = time.monotonic()
        ends = started + self._settings.drain_seconds
        counts: Counter[str] = Counter(claimed=0)
        try:
            while entries := self._claim():
                if not counts["claimed"] and len(entries) >= self._settings.batch_count:
                    self._claimer.ring(self._now())  # a standing backlog: other children may join
                counts["claimed"] += len(entries)
                stored = self._take(entries, counts, ends)
                if not stored or self._stopping() or time.monotonic() >= ends:
                    self._claimer.ring(self._now())
                    break
        except RedisError as error:
            raise Unavailable(f"Redis is away ({type(error).__name__})") from None
        if counts["claimed"]:
            log.info("drained", seconds=round(time.monotonic() - started, 3), **counts)
        return dict(counts)

    def close(self) -> None:
        """Leaves the group of workers and PostgreSQL."""
        with suppress(RedisError):
            self._claimer.leave()
        self._store.close()

    def _claim(self) -> list[Entry]:
        count, idle = self._settings.batch_count, self._settings.reclaim_seconds
        if time.monotonic() - self._reclaimed_at >= idle / 3:
            self._reclaimed_at = time.monotonic()
            reclaimed = self._claimer.reclaim(count, idle)
            if reclaimed:
                log.warning("reclaimed", entries=len(reclaimed), why="their claim was handed back, or not renewed")
                return reclaimed
        return self._claimer.claim(count, self._settings.linger_seconds)

    def _take(self, entries: Sequence[Entry], counts: "Counter[str]", ends: float) -> bool:
        """Stores and acknowledges the entries. False when PostgreSQL stayed away: then they are handed back."""
        left = list(entries)
        for batch in _by_bytes(entries, self._settings.batch_bytes):
            parsed = [parse.read(entry, self._sources) for entry in batch]
            results = self._store_patiently(parsed, left, ends)
            if results is None:
                self._claimer.hand_back(left)
                return False
            settled = [_settle(*pair) for pair in zip(parsed, results, strict=True)]
            self._claimer.acknowledge(settled)
            counts.update(it.outcome for it in settled)
            del left[: len(batch)]
        return True

    def _store_patiently(
        self, parsed: Sequence[parse.Parsed], claimed: Sequence[Entry], ends: float
    ) -> list[Result] | None:
        """The results of a batch; None when PostgreSQL was away until the drain had to end."""
        for pause in _pauses():
            try:
                return self._store.store(parsed)
            except Unavailable as trouble:
                log.warning("waiting to store", why=str(trouble), entries=len(claimed), pause_seconds=pause)
            if self._stopping() or time.monotonic() + pause >= ends:
                return None
            self._sleep(pause)
            self._claimer.renew(claimed)
        return None


def _settle(parsed: parse.Parsed, result: Result) -> Settled:
    """How the ledger counts a callback: a repeat stands in PostgreSQL under another entry, with its oddities."""
    if result.repeat:
        return Settled(parsed.entry, "repeat")
    oddities = {note for event in parsed.events for note in event.extra.get("notes", ())}
    if result.conflict:
        oddities.add(CONFLICT)
    return Settled(parsed.entry, result.outcome, sorted(oddities))


def _pauses() -> Iterator[float]:
    yield from PAUSES_SECONDS
    while True:
        yield PAUSES_SECONDS[-1]


def _by_bytes(entries: Sequence[Entry], limit_bytes: int) -> Iterator[list[Entry]]:
    """The entries in order, cut into batches of up to so many bytes, or of one entry."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and size + len(entry.packed) > limit_bytes:
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.packed)
    if batch:
        yield batch
