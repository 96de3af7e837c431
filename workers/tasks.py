"""The drain: claims callbacks from the inbox, parses and stores them, and only then acknowledges them (promise P2).

One drain empties the inbox for as long as there is anything in it and its time is not up. Many may run at once, on
any number of hosts; each entry is claimed by one of them, and what a worker that is gone had claimed is reclaimed.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from redis import RedisError

from shared import logs
from shared.errors import Unavailable
from shared.inbox import Claimer, Entry, Settled, audit
from shared.settings import Settings
from shared.source import Source
from workers.breaker import Breaker, this_release, verdict
from workers.intake import Intake
from workers.parse import Parsed
from workers.store import Result, Store, Stored
from workers.write import nothing

CONFLICT = "conflict"  # the oddity of a callback that repeats the key of an event with another content
PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)  # while PostgreSQL is away; the last one repeats
FEW_SHARE = 0.05  # of a batch: with fewer it pays to let some more arrive before the next transaction
GATHER_SECONDS = 0.02
AUDIT_SECONDS = 15  # between two looks for entries that nobody would ever take

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
        release: str | None = None,
    ) -> None:
        self._claimer = claimer
        self._store = store
        self._settings = settings
        self._stopping = stopping
        self._now = now
        self._sleep = sleep
        self._intake = Intake(claimer, sources, settings, stopping, store.answers)
        self._breaker = Breaker(claimer, settings.inbox_limit, release or this_release())
        self._audited_at = float("-inf")

    def run(self) -> dict[str, int]:
        """Drains until the inbox stays empty or the time is up; counts what it did (shown by Flower).

        Raises Unavailable when Redis is away.
        """
        started = time.monotonic()
        ends = started + self._settings.drain_seconds
        counts: Counter[str] = Counter(claimed=0)
        try:
            self._audit()
            for source, entries in self._breaker.trials():
                self._try(source, entries, counts, ends)
            while entries := self._intake.next():
                if not counts["claimed"] and len(entries) >= self._settings.batch_count:
                    self._claimer.ring(self._now())  # a standing backlog: other children may join
                counts["claimed"] += len(entries)
                stored = self._take(entries, counts, ends)
                if not stored or self._stopping() or (time.monotonic() >= ends and not self._intake.is_ahead):
                    self._claimer.ring(self._now())
                    break
                if len(entries) < self._settings.batch_count * FEW_SHARE:
                    self._sleep(GATHER_SECONDS)
        except RedisError as error:
            raise Unavailable(f"Redis is away ({type(error).__name__})") from None
        finally:
            self._intake.let_go()
        if counts["claimed"]:
            log.info("drained", seconds=round(time.monotonic() - started, 3), **counts)
        return dict(counts)

    def close(self) -> None:
        """Leaves the group of workers and PostgreSQL."""
        with suppress(RedisError):
            self._claimer.leave()
        self._store.close()

    def _audit(self) -> None:
        if time.monotonic() - self._audited_at >= AUDIT_SECONDS:
            self._audited_at = time.monotonic()
            if mended := audit(self._claimer.client, AUDIT_SECONDS):
                log.error("mended", entries=mended, why="they were neither pending nor unread")

    def _take(self, entries: Sequence[Entry], counts: "Counter[str]", ends: float) -> bool:
        """Stores and acknowledges the entries. False when PostgreSQL stayed away: then they are handed back."""

        def meanwhile() -> None:
            self._intake.read_ahead(entries, ends)

        left = {entry.id: entry for entry in entries}
        for batch in _by_bytes(entries, self._settings.batch_bytes):
            parsed = self._breaker.sift([self._intake.read(entry) for entry in batch])
            for entry in _without(batch, parsed):
                counts["held"] += 1
                del left[entry.id]
            results = self._store_patiently(parsed, left.values(), ends, meanwhile)
            if results is None:
                self._claimer.hand_back(left.values())
                return False
            self._finish(parsed, results, counts)
            for it in parsed:
                del left[it.entry.id]
        return True

    def _try(self, source: str, entries: Sequence[Entry], counts: "Counter[str]", ends: float) -> None:
        """The trial of a held source: what can be stored is stored, and if that is most of it the hold ends."""
        good = [it for it in map(self._intake.read, entries) if verdict(it).kind == "good"]
        results = self._store_patiently(good, entries, ends) or []
        stored = [(it, result) for it, result in zip(good, results, strict=False) if isinstance(result, Result)]
        self._acknowledge([_settle(*pair) for pair in stored], counts)
        rest = _without(entries, [it for it, _ in stored])
        if 2 * len(stored) > len(entries):
            self._breaker.resume(source)
        if not self._claimer.hold(source, rest):
            self._claimer.hand_back(rest)

    def _finish(self, parsed: Sequence[Parsed], results: Sequence[Stored], counts: "Counter[str]") -> None:
        """Acknowledges what was stored. What PostgreSQL refused is held, or becomes a dead letter."""
        refused: list[Parsed] = []
        settled: list[Settled] = []
        for it, result in zip(parsed, results, strict=True):
            if isinstance(result, Result):
                settled.append(_settle(it, result))
            elif result.certain:
                refused.append(it._replace(events=[], letters=[result.letter]))
            else:
                log.warning("could not store an entry", entry=it.entry.id, why=result.letter.detail)
                self._claimer.hand_back([it.entry], blamed=True)
        self._acknowledge(settled, counts)
        for it in self._breaker.sift_refused(refused):
            try:
                self._acknowledge([_settle(it, self._store.bury(it))], counts)
            except Unavailable as trouble:
                log.warning("could not set an entry aside", entry=it.entry.id, why=str(trouble))
                self._claimer.hand_back([it.entry])

    def _acknowledge(self, settled: Sequence[Settled], counts: "Counter[str]") -> None:
        if settled:
            self._claimer.acknowledge(settled)
            counts.update(it.outcome for it in settled)

    def _store_patiently(
        self,
        parsed: Sequence[Parsed],
        claimed: Iterable[Entry],
        ends: float,
        meanwhile: Callable[[], None] = nothing,
    ) -> list[Stored] | None:
        """The results of a batch; None when PostgreSQL was away until the drain had to end."""

        def may_go_on() -> bool:
            self._intake.renew(claimed)
            return time.monotonic() < ends

        for pause in _pauses():
            try:
                return self._store.store(parsed, may_go_on, meanwhile)
            except Unavailable as trouble:
                log.warning("waiting to store", why=str(trouble), entries=len(parsed), pause_seconds=pause)
            if self._stopping() or time.monotonic() + pause >= ends:
                return None
            self._sleep(pause)
            self._intake.renew(claimed)
        return None


def _settle(parsed: Parsed, result: Result) -> Settled:
    """How the ledger counts a callback: a repeat stands in PostgreSQL under another entry, with its oddities."""
    if result.repeat:
        return Settled(parsed.entry, "repeat")
    oddities = {note for event in parsed.events for note in event.extra.get("notes", ())}
    if result.conflict:
        oddities.add(CONFLICT)
    return Settled(parsed.entry, result.outcome, sorted(oddities))


def _without(entries: Sequence[Entry], parsed: Sequence[Parsed]) -> list[Entry]:
    """The entries that are not among the parsed ones."""
    ids = {it.entry.id for it in parsed}
    return [entry for entry in entries if entry.id not in ids]


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
