"""Which entries a drain takes next: those that were handed back or lost, a suspect by itself, or new ones.

An entry whose workers vanish again and again is a suspect: it is tried alone, and in the end becomes a dead letter
(promise P5).
"""

import time
from collections.abc import Iterable, Iterator, Sequence

from shared import logs
from shared.inbox import Abandoned, Consumer, Entry
from shared.settings import Settings
from workers.drain.run import Run

SUSPECT = 2  # deliveries from which on an entry is tried alone

log = logs.get(__name__)


class Intake:
    """One for each worker process. What asks Redis raises RedisUnavailable."""

    def __init__(self, consumer: Consumer, settings: Settings) -> None:
        self._consumer = consumer
        self._settings = settings
        self._reclaimed_at = float("-inf")
        self._suspects: list[Abandoned] = []

    @property
    def has_suspects(self) -> bool:
        """Whether an entry waits to be tried alone."""
        return bool(self._suspects)

    def take_reclaimed(self, run: Run) -> list[Entry]:
        """The next batch of entries that are claimed already, were handed back, or whose claim was not renewed."""
        if run.batches or not self._is_reclaim_due():
            return run.next_batch()
        count, idle = self._settings.batch_count, self._settings.reclaim_seconds
        self._reclaimed_at = time.monotonic()
        abandoned = self._consumer.abandoned(count, idle)
        # Those that were tried alone least often come first: a bad one must not keep the others waiting.
        self._suspects = sorted(
            (one for one in abandoned if one.deliveries >= SUSPECT), key=lambda one: -one.deliveries
        )
        entries = self._consumer.take([one for one in abandoned if one.deliveries < SUSPECT], idle)
        if entries:
            if len(abandoned) == count:
                self._reclaimed_at = float("-inf")  # there are more: a hold that ended, or a long outage
            log.warning("reclaimed", entries=len(entries), why="their claim was handed back, or not renewed")
        return self._claimed(run, entries)

    def take_suspect(self, run: Run) -> list[Entry]:
        """The next suspect, if it is still to be had."""
        suspect = self._suspects.pop()
        entries = self._consumer.take([suspect], self._settings.reclaim_seconds)
        if entries:
            log.warning("trying an entry alone", entry=suspect.id, tries=suspect.deliveries)
        return self._claimed(run, entries)

    def postpone_suspects(self) -> None:
        """Leaves the suspects to a later run: nothing may count against them now."""
        self._suspects.clear()

    def take_new(self, run: Run, linger_seconds: float) -> list[Entry]:
        """The next batch of new entries; empty when none comes within the time."""
        return self._claimed(run, self._consumer.claim(self._settings.batch_count, linger_seconds))

    def may_read_ahead(self, run: Run, batch: Sequence[Entry]) -> bool:
        """Whether the next batch may be claimed while this one is being stored.

        Only behind a full batch of new entries, when nothing else comes first: if an entry of this batch ended the
        worker, the next batch would be blamed too.
        """
        is_full = len(batch) >= self._settings.batch_count
        comes_first = run.batches or self._suspects or self._is_reclaim_due() or run.is_stopping or run.is_over
        return is_full and not comes_first and all(entry.deliveries == 1 for entry in batch)

    def _claimed(self, run: Run, entries: Sequence[Entry]) -> list[Entry]:
        run.add(entries)
        run.batches.extend(_batches(entries, self._settings.batch_bytes))
        return run.next_batch()

    def _is_reclaim_due(self) -> bool:
        return time.monotonic() - self._reclaimed_at >= self._settings.reclaim_seconds / 3


def _batches(entries: Iterable[Entry], limit_bytes: int) -> Iterator[list[Entry]]:
    """The entries in order, cut into batches of up to `limit_bytes`, or of one entry."""
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
