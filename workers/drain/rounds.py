"""Drains all shards: each worker process begins with one of its own, and helps with the others.

They take turns, so that none waits for the end of another's backlog. One whose Redis is away keeps nobody waiting.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from shared import logs
from shared.inbox import RedisUnavailable
from workers.drain.drainer import Drainer
from workers.drain.store import Store
from workers.reporter import Reporter

TURN_SECONDS = 0.5

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
        self._store = store
        self._seconds = seconds
        self._stopping = stopping
        self._reporter = reporter

    def run(self) -> dict[str, int]:
        """Drains until the inbox stays empty or the time is up; returns what it counted (shown by Flower).

        Raises RedisUnavailable when no shard can be drained.
        """
        if self._reporter is not None:
            self._reporter.report_if_due()
        if len(self._drainers) == 1:
            return dict(self._drainers[0].run())
        return dict(self._take_turns())

    def close(self) -> None:
        """Leaves the group of workers, and PostgreSQL."""
        for drainer in self._drainers:
            drainer.close()
        self._store.database.close()

    def _take_turns(self) -> Counter[str]:
        ends_at = time.monotonic() + self._seconds
        counts: Counter[str] = Counter(claimed=0)
        waiting = list(self._drainers)
        failure: RedisUnavailable | None = None
        while waiting and not self._stopping() and time.monotonic() < ends_at:
            claimed: list[Drainer] = []
            for drainer in waiting:
                try:
                    turn = drainer.run(TURN_SECONDS, linger_seconds=0)
                except RedisUnavailable as error:
                    log.warning("left a shard out", why=str(error))
                    failure = error
                    continue
                counts.update(turn)
                if turn["claimed"]:
                    claimed.append(drainer)
            waiting = claimed
        if failure and not counts["claimed"]:
            raise failure
        return counts
