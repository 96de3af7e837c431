"""Looks every minute whether Redis and the spool can keep what the ingress promises; it serves on if not."""

import asyncio
import socket
from contextlib import suppress

from ingress.metrics import UNMET
from ingress.spool import SpoolError
from ingress.spools import Spools
from shared import inbox
from shared.demands import CHECK_SECONDS, Watch
from shared.inbox import RedisUnavailable
from shared.settings import Settings

ANSWER_SECONDS = 1.0  # for Redis; one that is away is no news here


class Examiner:
    """One for each ingress process. `watch` holds what it found."""

    def __init__(self, spools: Spools, settings: Settings) -> None:
        self.watch = Watch()
        self._spools = spools
        self._settings = settings

    async def run(self) -> None:
        """Looks at once, and then every minute, for as long as the ingress runs."""
        while True:
            await self.examine()
            await asyncio.sleep(CHECK_SECONDS)

    async def examine(self) -> None:
        """Notes what is unmet now. What does not answer keeps what was found before."""
        try:
            await self._spools.probe()
        except SpoolError as error:
            self.watch.note("spool", [str(error)])
        else:
            self.watch.note("spool", [])
        with suppress(RedisUnavailable):
            await asyncio.to_thread(self._examine_redis)
        for what, unmet in self.watch.unmet.items():
            UNMET.labels(what).set(len(unmet))

    def _examine_redis(self) -> None:
        """Also reports there what this host's ingresses find unmet."""
        with inbox.Inbox.connect(self._settings, ANSWER_SECONDS) as found:
            with suppress(RedisUnavailable):  # one of several
                self.watch.note("redis", inbox.examine(found.shards, self._settings.redis_wait_replicas).unmet)
            inbox.report_ingress_unmet(found.first, socket.gethostname(), self.watch.unmet)
