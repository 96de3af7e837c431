"""Drains all shards: each worker process begins with one of its own, and helps with the others.

They take turns, so that none waits for the end of another's backlog. One whose Redis is away comes last, and is asked
briefly whether it is back.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from shared import logs
from shared.inbox import RedisUnavailable
from workers.drain.drainer import Drainer
from workers.drain.run import Outcomes
from workers.drain.store import Store
from workers.reporter import Reporter

TURN_SECONDS = 0.5
BACK_SECONDS = 0.5  # for a shard that was away to answer that it is back
SOURCES_SHOWN = 20  # with the most callbacks; all others are counted together, as OTHERS
OTHERS = "other sources"

Shown = dict[str, dict[str, int]]  # source → what became of its callbacks → how many

log = logs.get(__name__)


class Rounds:
    """One for each worker process. `first` is the shard that it begins with."""

    def __init__(
        self,
        drainers: Sequence[Drainer],
        store: Store,
        seconds: float,
        first: int = 0,
        stopping: Callable[[], bool] = lambda: False,
        reporter: Reporter | None = None,
    ) -> None:
        first %= len(drainers)
        self._drainers = [*drainers[first:], *drainers[:first]]
        self._away: set[Drainer] = set()
        self._store = store
        self._seconds = seconds
        self._stopping = stopping
        self._reporter = reporter

    def run(self) -> Shown:
        """Drains until the inbox stays empty or the time is up; returns what became of the callbacks, for Flower.

        Raises RedisUnavailable when each shard failed.
        """
        self._report_if_due()
        outcomes: Outcomes = Counter()
        if len(self._drainers) == 1:
            self._drainers[0].run(outcomes=outcomes)
        else:
            self._take_turns(outcomes)
        return shown(outcomes)

    def maintain(self) -> Shown:
        """Reports, repairs and tries held sources, where that is due; returns what became of callbacks by that.

        Raises RedisUnavailable when no shard can be asked.
        """
        self._report_if_due()
        outcomes: Outcomes = Counter()
        failures: list[RedisUnavailable] = []
        for drainer in self._drainers:
            try:
                outcomes.update(drainer.maintain())
            except RedisUnavailable as error:
                failures.append(error)
        if len(failures) == len(self._drainers):
            raise failures[0]
        return shown(outcomes)

    def close(self) -> None:
        """Leaves the group of workers, and PostgreSQL."""
        for drainer in self._drainers:
            drainer.close()
        self._store.close()

    def _report_if_due(self) -> None:
        """A Redis that is away keeps no worker from the other shards."""
        if self._reporter is not None:
            with suppress(RedisUnavailable):
                self._reporter.report_if_due()

    def _take_turns(self, outcomes: Outcomes) -> None:
        ends_at = time.monotonic() + self._seconds
        waiting = sorted(self._drainers, key=self._away.__contains__)
        failures: list[RedisUnavailable] = []
        while waiting and not self._stopping() and time.monotonic() < ends_at:
            claimed: list[Drainer] = []
            for drainer in waiting:
                try:
                    turn = self._take_turn(drainer, outcomes)
                except RedisUnavailable as error:
                    failures.append(error)
                    continue
                if turn["claimed"]:
                    claimed.append(drainer)
            waiting = claimed
        if len(failures) == len(self._drainers):
            raise failures[0]

    def _take_turn(self, drainer: Drainer, outcomes: Outcomes) -> Counter[str]:
        """What was counted. Raises RedisUnavailable."""
        try:
            if drainer in self._away:
                drainer.find_back(BACK_SECONDS)
                self._away.remove(drainer)
            return drainer.run(TURN_SECONDS, linger_seconds=0, outcomes=outcomes)
        except RedisUnavailable as error:
            if drainer not in self._away:
                log.warning("left a shard out", why=str(error))
            self._away.add(drainer)
            raise


def shown(outcomes: Outcomes) -> Shown:
    """What became of callbacks, as Flower shows it: of limited size, and nothing but names and counts in it."""
    by_source: Counter[str] = Counter()
    for (source, _), count in outcomes.items():
        by_source[source] += count
    first = {source for source, _ in by_source.most_common(SOURCES_SHOWN)}
    found: Shown = {}
    for (source, what), count in sorted(outcomes.items()):
        counts = found.setdefault(source if source in first else OTHERS, {})
        counts[str(what)] = counts.get(str(what), 0) + count
    return found
