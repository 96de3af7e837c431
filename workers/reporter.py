"""What a worker reports every minute, to the inbox and in its metrics, for who looks from outside: whether Redis and
PostgreSQL can keep what Callbox promises (the worker goes on if not), which sources it knows, how many dead letters are
open, and whether PostgreSQL went back."""

import socket
import time
from collections.abc import Collection
from contextlib import suppress

from shared.catalogue import WORKER_UNMET
from shared.demands import CHECK_SECONDS, Watch
from shared.errors import Unavailable
from shared.inbox import (
    Inbox,
    RedisUnavailable,
    examine,
    note_open_dead_letters,
    note_shards,
    note_sources,
    report_unmet,
)
from workers import demands
from workers.database import REFUSALS, Database
from workers.queries import count_open_dead_letters
from workers.setback import report_latest
from workers.tally import Tally


class Reporter:
    """One for each worker process."""

    def __init__(
        self,
        inbox: Inbox,
        database: Database,
        wait_replicas: int = 0,
        sources: Collection[str] = (),
        tally: Tally | None = None,
    ) -> None:
        self._inbox = inbox
        self._wait_replicas = wait_replicas
        self._database = database
        self._sources = sources
        self._tally = tally or Tally()
        self._watch = Watch()
        self._reported_at = float("-inf")

    def report_if_due(self) -> None:
        """Also logs what is unmet now. A server that is away is no news, and what was found before stays. Raises
        RedisUnavailable when the Redis that takes the report is away."""
        if time.monotonic() - self._reported_at < CHECK_SECONDS:
            return
        self._reported_at = time.monotonic()
        with suppress(RedisUnavailable):
            self._watch.note("redis", examine(self._inbox.shards, self._wait_replicas).unmet)
        with suppress(Unavailable, *REFUSALS):
            self._watch.note("postgresql", self._database.ask(demands.examine).unmet)
        for what, unmet in self._watch.unmet.items():
            self._tally.set(WORKER_UNMET, (what,), len(unmet))
        report_unmet(self._inbox.first, socket.gethostname(), self._watch.unmet)
        note_shards(self._inbox.first, len(self._inbox.shards))
        note_sources(self._inbox.first, self._sources)
        report_dead_letters(self._inbox, self._database)
        report_latest(self._inbox, self._database)


def report_dead_letters(inbox: Inbox, database: Database) -> None:
    """Has the inbox know how many dead letters are open, if PostgreSQL answers. Raises RedisUnavailable."""
    with suppress(Unavailable, *REFUSALS):
        note_open_dead_letters(inbox.first, database.ask(count_open_dead_letters))
