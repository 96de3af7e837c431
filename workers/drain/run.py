"""One run of the drain: its time, what became of callbacks, and the entries that it has claimed and not yet settled."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from shared.inbox import Consumer, Done, Entry

Outcomes = Counter[tuple[str, str]]  # (source, what became of it) → callbacks
HELD = "held"
HANDED_BACK = "handed back"


class Run:
    """Made for each run, and gone with it. What asks Redis raises RedisUnavailable."""

    def __init__(
        self,
        consumer: Consumer,
        seconds: float,
        stopping: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._consumer = consumer
        self._stopping = stopping
        self._sleep = sleep
        self._started_at = time.monotonic()
        self._ends_at = self._started_at + seconds
        self._claimed: dict[str, Entry] = {}
        self.taken = 0  # entries that were read
        self.outcomes: Outcomes = Counter()
        self.batches: deque[list[Entry]] = deque()  # claimed, and behind the batch in work

    @property
    def is_stopping(self) -> bool:
        """Whether the worker has been asked to stop."""
        return self._stopping()

    @property
    def is_over(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() >= self._ends_at

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._started_at

    @property
    def counts(self) -> Counter[str]:
        """How many entries were taken (`claimed`), and what became of them, whatever their source."""
        counts: Counter[str] = Counter(claimed=self.taken)
        for (_, what), count in self.outcomes.items():
            if what != HANDED_BACK:
                counts[what] += count
        return counts

    @property
    def unsettled(self) -> list[Entry]:
        """What is claimed, and neither acknowledged nor handed back."""
        return list(self._claimed.values())

    def add(self, entries: Iterable[Entry]) -> None:
        """Keeps the claim on these from now on."""
        self._claimed.update((entry.id, entry) for entry in entries)

    def next_batch(self) -> list[Entry]:
        """The next of `batches`; empty after the last."""
        return self.batches.popleft() if self.batches else []

    def renew(self) -> None:
        """Renews the claim on everything that is not settled."""
        self._consumer.renew(self._claimed.values())

    def pause(self, seconds: float) -> bool:
        """Waits, and renews the claims. Returns False without waiting when the run would end during the pause."""
        if self.is_stopping or time.monotonic() + seconds >= self._ends_at:
            return False
        self._sleep(seconds)
        self.renew()
        return True

    def acknowledge(self, done: Sequence[Done]) -> None:
        """Takes entries out of the inbox, whose callbacks are in PostgreSQL."""
        if done:
            self._consumer.acknowledge(done)
            self.outcomes.update((each.entry.source, each.counter) for each in done)
            self.forget(each.entry for each in done)

    def hand_back(self, entries: Sequence[Entry], blamed: bool = False) -> None:
        """Lets any worker take the entries; this delivery counts against them only if they are `blamed` for it."""
        self._consumer.hand_back(entries, blamed)
        self.outcomes.update((entry.source, HANDED_BACK) for entry in entries)
        self.forget(entries)

    def forget(self, entries: Iterable[Entry]) -> None:
        """For entries that are no longer this run's."""
        for entry in entries:
            del self._claimed[entry.id]

    def end(self) -> None:
        """Hands back what is left."""
        self.hand_back(self.unsettled)
