"""Looks every minute whether Redis and PostgreSQL can keep what Callbox promises; the worker goes on if not."""

import socket
import time
from contextlib import suppress

from shared.demands import CHECK_SECONDS, Watch
from shared.errors import Unavailable
from shared.inbox import Client, examine, report_unmet
from workers import demands
from workers.database import REFUSALS, Database


class Examiner:
    """One for each worker process."""

    def __init__(self, client: Client, database: Database) -> None:
        self._client = client
        self._database = database
        self._watch = Watch()
        self._examined_at = float("-inf")

    def examine_if_due(self) -> None:
        """Logs what is unmet now, and reports it to the inbox. A PostgreSQL that is away is no news.

        Raises RedisUnavailable.
        """
        if time.monotonic() - self._examined_at < CHECK_SECONDS:
            return
        self._examined_at = time.monotonic()
        self._watch.note("redis", examine(self._client).unmet)
        with suppress(Unavailable, *REFUSALS):
            self._watch.note("postgresql", self._database.ask(demands.examine).unmet)
        report_unmet(self._client, socket.gethostname(), self._watch.unmet)
