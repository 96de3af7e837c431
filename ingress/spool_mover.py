"""Moves what is in the spool to the inbox once Redis is back, the oldest first; also what was left by ingresses of this
host that are gone."""

import asyncio
from time import monotonic

from ingress.keeper import Keeper
from ingress.spool import Spool, SpoolError
from ingress.spools import Spools
from shared import logs
from shared.errors import Unavailable
from shared.inbox import Appender
from shared.settings import Settings

PROBE_SECONDS = 0.5  # between two probes whether Redis is back
ADOPT_SECONDS = 5.0  # between two searches for files whose owner is gone
MOVE_PAUSE_SECONDS = 0.01  # between two groups, so that what arrives at the same time is not held up

log = logs.get(__name__)


class SpoolMover:
    """One for each ingress process."""

    def __init__(self, keeper: Keeper, spools: Spools, inbox: Appender, settings: Settings) -> None:
        self._keeper = keeper
        self._spools = spools
        self._inbox = inbox
        self._settings = settings
        self._adopted_at = float("-inf")
        self._reported: dict[str, dict[str, int]] = {}  # by file, the counts that Redis is known to have

    async def run(self) -> None:
        """Probes, adopts and moves, for as long as the ingress runs."""
        while True:
            try:
                if self._keeper.is_redis_away:
                    await self._keeper.probe_redis()
                    self._keeper.redis_answered()
                await self._adopt()
                for file in self._spools.files:
                    await self._move(file)
            except Unavailable as error:
                self._keeper.redis_failed(str(error))
            except Exception as error:
                log.error("moving the spool failed", exc_info=error)
            await asyncio.sleep(PROBE_SECONDS)

    async def _adopt(self) -> None:
        if monotonic() - self._adopted_at >= ADOPT_SECONDS:
            self._adopted_at = monotonic()
            await self._spools.adopt()

    async def _move(self, file: Spool) -> None:
        """Moves what is in a file. A group whose move was interrupted is moved again: a callback's id makes it one.
        Raises Unavailable when Redis does not take it."""
        settings = self._settings
        try:
            await self._report(file)
            while group := await self._spools.oldest(file, settings.group_count, settings.group_bytes):
                await self._keeper.append([(spooled.source, spooled.packed) for spooled in group])
                self._keeper.redis_answered()  # else what arrives goes into this file, which would never be empty
                await self._spools.remove_through(file, group[-1].number)
                await self._report(file)
                await asyncio.sleep(MOVE_PAUSE_SECONDS)
            await self._spools.release(file)
        except SpoolError as error:
            log.error("the spool cannot be moved", file=file.path.name, why=str(error))

    async def _report(self, file: Spool) -> None:
        """Sends to the ledger how much is in a file, unless the ledger is known to have it."""
        counts = await self._spools.counts(file)
        if self._reported.get(file.path.name, {}) != counts:
            self._reported.pop(file.path.name, None)  # Redis may take it although its answer is lost
            await self._inbox.report_spool(file.path.name, counts)
            self._reported[file.path.name] = counts
