"""Moves what is in the spool to the inbox once Redis is back, the oldest first; also what was left by ingresses of this
host that are gone."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic

from ingress.keeper import Keeper
from ingress.metrics import SPOOL_CALLBACKS, SPOOL_OLDEST_SECONDS
from ingress.pace import Pace
from ingress.spool import Spool, Spooled, SpoolError
from ingress.spools import Spools
from shared import logs
from shared.errors import Unavailable
from shared.inbox import Shards
from shared.settings import Settings

LOOK_SECONDS = 0.5  # between two looks whether there is something to move
ADOPT_SECONDS = 5.0  # between two searches for files whose owner is gone
MOVE_PAUSE_SECONDS = 0.01  # between two groups, so that what arrives at the same time is not held up
# Of the time that an append has: what a group takes of the link must leave time for what arrives behind it.
SHORT_SHARE, LONG_SHARE = 0.2, 0.4
FIRST_SHARE = 1 / 64  # of a full group
FORGET = 1.02  # what the shortest append grows by with each one: the link may have become another

log = logs.get(__name__)


class SpoolMover:
    """One for each ingress process."""

    def __init__(self, keeper: Keeper, spools: Spools, inbox: Shards, settings: Settings) -> None:
        self._keeper = keeper
        self._spools = spools
        self._inbox = inbox
        self._settings = settings
        self._pace = Pace(settings.group_count, settings.group_bytes, FIRST_SHARE)
        self._latency_seconds = float("inf")  # of an append, whatever its size
        self._adopted_at = float("-inf")
        self._reported: dict[str, dict[str, int]] = {}  # by file, the counts that Redis is known to have

    async def run(self) -> None:
        """Adopts and moves, for as long as the ingress runs."""
        while True:
            try:
                await self._adopt()
                await self._show_depth()
                for file in self._spools.files:
                    await self._move(file)
            except Unavailable:
                pass  # the keeper reports it
            except Exception as error:
                log.error("moving the spool failed", exc_info=error)
            await asyncio.sleep(LOOK_SECONDS)

    async def _adopt(self) -> None:
        if monotonic() - self._adopted_at >= ADOPT_SECONDS:
            self._adopted_at = monotonic()
            await self._spools.adopt()

    async def _show_depth(self) -> None:
        """Shows in the metrics what waits here, also while Redis is away. Raises SpoolError."""
        depths = await self._spools.depths()
        SPOOL_CALLBACKS.set(sum(depth.callbacks for depth in depths))
        oldest_at = min((depth.oldest_at for depth in depths if depth.oldest_at), default=None)
        age = datetime.now(UTC) - oldest_at if oldest_at else timedelta()
        SPOOL_OLDEST_SECONDS.set(max(0.0, age.total_seconds()))

    async def _move(self, file: Spool) -> None:
        """Moves what is in a file, while Redis is there. Raises Unavailable when Redis does not take it.

        A group whose move was interrupted is moved again: a callback's id makes it one.
        """
        try:
            while not self._keeper.is_redis_away:
                await self._report(file)
                await self._show_depth()
                group = await self._spools.oldest(file, self._pace.count, self._pace.limit_bytes)
                if not group:
                    await self._spools.release(file)
                    break
                await self._append(group)
                await self._spools.remove_through(file, group[-1].number)
                await asyncio.sleep(MOVE_PAUSE_SECONDS)
        except SpoolError as error:
            log.error("the spool cannot be moved", file=file.path.name, why=str(error))

    async def _append(self, group: list[Spooled]) -> None:
        """Raises Unavailable. What Redis took without answering in time is appended again, in smaller groups."""
        started_at = monotonic()
        try:
            pairs = [(spooled.source, spooled.packed) for spooled in group]
            await self._keeper.move(pairs, self._settings.move_seconds)
        except Unavailable:
            self._pace.shrink()
            raise
        seconds = monotonic() - started_at
        self._latency_seconds = min(seconds, self._latency_seconds * FORGET)
        share = (seconds - self._latency_seconds) / self._settings.append_seconds
        if share > LONG_SHARE:
            self._pace.shrink()
        elif share < SHORT_SHARE:
            self._pace.grow()

    async def _report(self, file: Spool) -> None:
        """Sends to the ledger how much is in a file, unless the ledger is known to have it."""
        counts = await self._spools.counts(file)
        if self._reported.get(file.path.name) != counts:  # an empty one too: who emptied it may have died before
            self._reported.pop(file.path.name, None)  # Redis may take it although its answer is lost
            with suppress(Unavailable):  # the first shard is away: others may take callbacks
                await self._inbox.report_spool(file.path.name, counts)
                self._reported[file.path.name] = counts
