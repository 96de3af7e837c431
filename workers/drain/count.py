"""What the metrics have of a batch that is in PostgreSQL."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from shared.catalogue import (
    CONFLICTS,
    DEAD_LETTERS,
    DUPLICATES,
    EVENTS,
    INTENTS,
    PROVIDER_DELAY_SECONDS,
    STORED_SECONDS,
)
from shared.events import DeliveryReport, Event, Intent, Status
from shared.outcomes import Outcome
from workers.drain.read import Parsed
from workers.rows import Stored
from workers.tally import Tally


def count(batch: Sequence[tuple[Parsed, Stored]], committed_at: datetime, tally: Tally) -> None:
    """Counts each callback once: a repeat was counted under its other entry. (The same entry is counted twice where a
    worker is frozen between its commit and this, and another one reclaims it. The ledger counts it once.) Times are
    those of several hosts: what would be below 0 is 0."""
    committed = committed_at.timestamp()
    by_source: defaultdict[str, _Found] = defaultdict(_Found)
    for (_, callback, events, dead_letters), (outcome, repeat, conflict) in batch:
        if repeat:
            continue
        source, arrived = callback.source, callback.received_at.timestamp()
        found = by_source[source]
        found.ages.append(max(0.0, committed - arrived))
        if outcome is Outcome.STORED:
            found.add(events, arrived)
        elif outcome is Outcome.DUPLICATE:
            tally.add(DUPLICATES, (source,))
        if conflict:
            tally.add(CONFLICTS, (source,))
        for dead_letter in dead_letters:
            tally.add(DEAD_LETTERS, (source, dead_letter.stage))
    for source, found in by_source.items():
        found.count(source, tally)


class _Found:
    """What a batch brought of one source: in lists, which cost a tenth of a count for each callback."""

    def __init__(self) -> None:
        self.ages: list[float] = []
        self._delays: list[float] = []
        self._statuses: list[Status] = []
        self._intents: list[Intent] = []

    def add(self, events: Sequence[Event], arrived: float) -> None:
        for event in events:
            if isinstance(event, DeliveryReport):
                self._statuses.append(event.status)
                event_at = event.occurred_at
            else:
                self._intents.append(event.intent)
                event_at = event.sent_at
            if event_at is not None:
                self._delays.append(max(0.0, arrived - event_at.timestamp()))

    def count(self, source: str, tally: Tally) -> None:
        tally.observe(STORED_SECONDS, (source,), self.ages)
        if self._delays:
            tally.observe(PROVIDER_DELAY_SECONDS, (source,), self._delays)
        for status in set(self._statuses):
            tally.add(EVENTS, (source, "dr", status), self._statuses.count(status))
        for intent in set(self._intents):
            tally.add(INTENTS, (source, intent), self._intents.count(intent))
        if self._intents:
            tally.add(EVENTS, (source, "mo", ""), len(self._intents))
