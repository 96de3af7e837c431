"""Has the receiver serve what is in callbox.toml now, when SIGHUP asks for it, and reports what is served."""

import asyncio
from contextlib import suppress

from ingress import metrics
from ingress.receive import Receiver
from shared import inbox
from shared.current import Current
from shared.inbox import RedisUnavailable
from shared.settings import Settings

ANSWER_SECONDS = 1.0  # for Redis to take a report


class Reloader:
    """One for each ingress process."""

    def __init__(self, current: Current, receiver: Receiver, settings: Settings) -> None:
        self._current = current
        self._receiver = receiver
        self._settings = settings
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Has the file read soon."""
        self._asked.set()

    async def run(self) -> None:
        """Reloads whenever it is asked to, and reports every minute, for as long as the ingress runs."""
        while True:
            await asyncio.to_thread(self._report)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), inbox.REPORT_SECONDS)
                self._asked.clear()
                await self.reload()

    async def reload(self) -> None:
        """Reads the file, beside the requests, and serves what is in it unless there is a mistake."""
        if await asyncio.to_thread(self._current.read_again):
            sources = self._current.configuration.sources
            metrics.begin(list(sources))
            self._receiver.serve(sources)

    async def leave(self) -> None:
        """Takes the report back: this process ends."""
        await asyncio.to_thread(self._forget)

    def _forget(self) -> None:
        with suppress(RedisUnavailable), inbox.Inbox.connect(self._settings, ANSWER_SECONDS) as found:
            inbox.forget_process(found.first, self._current.report("ingress"))

    def _report(self) -> None:
        with suppress(RedisUnavailable), inbox.Inbox.connect(self._settings, ANSWER_SECONDS) as found:
            inbox.report_process(found.first, self._current.report("ingress"))
