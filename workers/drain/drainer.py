"""The loop of the drain: takes callbacks from the inbox, reads and stores them, and only then acknowledges them
(promise P2).

One run empties the inbox for as long as there is anything in it and its time is not up. Many may run at once, on any
number of hosts; each entry is claimed by one of them, and what a worker that is gone had claimed is reclaimed.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import NamedTuple

from shared import logs
from shared.catalogue import BATCH_CALLBACKS, BATCH_SECONDS, DRAINS
from shared.inbox import Consumer, Entry, RedisUnavailable, Shard, audit_group, ping_anew
from shared.settings import Settings
from shared.source import Source
from workers.drain.holds import HoldPolicy, this_release, verdict
from workers.drain.intake import Intake
from workers.drain.read import Parsed, read_unless_deadly
from workers.drain.run import Outcomes, Run
from workers.drain.settle import settle, settle_trial
from workers.drain.store import Store
from workers.tally import Tally

FEW_SHARE = 0.05  # of a full batch: with fewer it pays to let more arrive before the next transaction
GATHER_SECONDS = 0.02
AUDIT_SECONDS = 15  # between two searches for entries that no worker would ever take

log = logs.get(__name__)


class End(StrEnum):
    """What ends a run: the words of `callbox_drains_total`."""

    EMPTY = "empty"  # the inbox is
    TIME = "time"  # is up
    STOPPING = "stopping"  # the worker is
    POSTGRESQL = "postgresql"  # stayed away
    REDIS = "redis"  # is away
    FAILED = "failed"  # we did


class Batch(NamedTuple):
    """Entries that belong to one transaction, and what they report."""

    entries: list[Entry]
    parsed: list[Parsed]


class Drainer:
    """What one worker process keeps from run to run, for one shard. `ring` asks for another drain; `tally` has what the
    metrics show."""

    def __init__(
        self,
        shard: Shard,
        name: str,
        ring: Callable[[], None],
        store: Store,
        sources: Mapping[str, Source],
        settings: Settings,
        stopping: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
        release: str | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._shard = shard
        self._consumer = Consumer(shard, name)
        self._ring = ring
        self._sources = sources
        self._settings = settings
        self._stopping = stopping
        self._sleep = sleep
        self._tally = tally or Tally()
        self._intake = Intake(self._consumer, settings)
        limit = settings.inbox_limit // settings.shard_count
        self._holds = HoldPolicy(shard, limit, release or this_release(), sources.keys())
        self._store = store
        self._linger_seconds = settings.linger_seconds
        self._audited_at = float("-inf")

    def run(
        self, seconds: float | None = None, linger_seconds: float | None = None, outcomes: Outcomes | None = None
    ) -> Counter[str]:
        """Drains until the shard stays empty or the time is up (the settings' own, unless it is given); returns what it
        counted, and adds to `outcomes` what became of the callbacks of each source.

        Raises RedisUnavailable.
        """
        run = Run(self._consumer, seconds or self._settings.drain_seconds, self._stopping, self._sleep)
        self._linger_seconds = self._settings.linger_seconds if linger_seconds is None else linger_seconds
        end = End.FAILED
        try:
            with self._ended(run):
                self._maintain(run)
                end = self._drain(run)
        except RedisUnavailable:
            end = End.REDIS
            raise
        finally:
            self._tally.add(DRAINS, (end,))
            self._tally.hand_over()
            if run.taken:
                log.info("drained", seconds=round(run.seconds, 3), **run.counts)
            if outcomes is not None:
                outcomes.update(run.outcomes)
        if end is not End.EMPTY:
            self._ring()  # what is left is another run's
        return run.counts

    def maintain(self) -> Outcomes:
        """Repairs the inbox and tries held sources, where that is due, without draining; what became of the callbacks
        of a trial. Raises RedisUnavailable."""
        run = Run(self._consumer, self._settings.drain_seconds, self._stopping, self._sleep)
        with self._ended(run):
            self._maintain(run)
        if run.outcomes:
            self._ring()  # what was held may be drained
        return run.outcomes

    def find_back(self, seconds: float) -> None:
        """For a shard that was away. Raises RedisUnavailable unless it answers within this time."""
        ping_anew(self._shard, seconds)

    def close(self) -> None:
        """Leaves the group of workers."""
        with suppress(RedisUnavailable):
            self._consumer.leave()

    @contextmanager
    def _ended(self, run: Run) -> Iterator[None]:
        """Ends the run. After another exception than of Redis the entries stay claimed, as after a death: what failed
        on them may fail again, and the delivery counts against them."""
        try:
            yield
        except RedisUnavailable:
            with suppress(RedisUnavailable):
                run.end()
            raise
        run.end()

    def _maintain(self, run: Run) -> None:
        self._audit()
        self._try_held_sources(run)

    def _drain(self, run: Run) -> End:
        """Drains; what ended that."""
        batch = self._next(run)
        if len(batch.entries) >= self._settings.batch_count or run.batches:
            self._ring()  # a backlog: other workers may join
        while batch.entries:
            run.taken += len(batch.entries)
            to_store = self._holds.set_aside(batch.parsed, run)
            began_at = time.monotonic()
            with self._store.begin(to_store) as pending:
                ahead = self._next_ahead(run, batch.entries)
                results = pending.finish(run)
            if results is not None:
                settle(to_store, results, run, self._holds, self._store, self._tally)
                self._count(len(to_store), time.monotonic() - began_at)
            if results is None or run.is_stopping or (run.is_over and not ahead.entries):
                return _why(results is None, run)
            if len(batch.entries) < self._settings.batch_count * FEW_SHARE and not run.batches:
                self._sleep(GATHER_SECONDS)
            batch = ahead if ahead.entries else self._next(run)
        return End.EMPTY

    def _count(self, callbacks: int, seconds: float) -> None:
        if callbacks:
            self._tally.observe(BATCH_CALLBACKS, (), [callbacks])
            self._tally.observe(BATCH_SECONDS, (), [seconds])
        self._tally.hand_over_if_due()

    def _next(self, run: Run) -> Batch:
        """The next batch, claimed and read; empty when the inbox stays empty for a moment."""
        entries = self._intake.take_reclaimed(run) or self._suspect(run)
        return self._read(entries or self._intake.take_new(run, self._linger_seconds))

    def _next_ahead(self, run: Run, behind: Sequence[Entry]) -> Batch:
        """The next batch, while PostgreSQL works on the one before; empty unless that is safe and useful."""
        if not self._intake.may_read_ahead(run, behind):
            return Batch([], [])
        return self._read(self._intake.take_new(run, linger_seconds=0))

    def _suspect(self, run: Run) -> list[Entry]:
        while self._intake.has_suspects:
            if not self._store.is_working():  # an outage must not count against it
                self._intake.postpone_suspects()
            elif entries := self._intake.take_suspect(run):
                return entries
        return []

    def _read(self, entries: list[Entry]) -> Batch:
        return Batch(entries, [read_unless_deadly(entry, self._sources) for entry in entries])

    def _try_held_sources(self, run: Run) -> None:
        """Stores what can be stored of a few entries of each held source; if that is most of them, the hold ends."""
        for source, abandoned in self._holds.due_trials():
            entries = self._consumer.take(abandoned, idle_seconds=0)
            run.add(entries)
            good = [parsed for parsed in self._read(entries).parsed if verdict(parsed).blame is None]
            results = self._store.finish(good, run) if good else None
            stored = settle_trial(good, results, run, self._tally) if results else 0
            if 2 * stored > len(entries):
                self._holds.end_hold(source)
            self._holds.put_back(source, run)

    def _audit(self) -> None:
        if time.monotonic() - self._audited_at >= AUDIT_SECONDS:
            self._audited_at = time.monotonic()
            if repaired := audit_group(self._shard, AUDIT_SECONDS):
                log.error("repaired the inbox", entries=repaired, why="they were neither pending nor unread")


def _why(is_unstored: bool, run: Run) -> End:
    if run.is_stopping:
        return End.STOPPING
    return End.POSTGRESQL if is_unstored else End.TIME
