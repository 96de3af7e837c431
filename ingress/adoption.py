"""The adoption of spool files by hand: of a host that will not come back, where no ingress of its folder does it.

They are moved as an ingress moves its own: by the SpoolMover.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import ParamSpec, TypeVar

from ingress import spool, spool_files
from ingress.keeper import Keeper
from ingress.spool import Spool, Spooled, SpoolError
from ingress.spool_mover import SpoolMover
from ingress.spools import Spools
from shared.errors import Unavailable
from shared.inbox import RedisUnavailable, Ringer, Shards
from shared.settings import Settings

PATIENCE_SECONDS = 10.0  # without any group that Redis took, beside the time that one group may need
CONNECTIONS = 2  # tried before Redis counts as away
POLL_SECONDS = 0.05

P = ParamSpec("P")
R = TypeVar("R")


class Adoption(Spools):
    """One spool file that is taken over, in the place of those that an ingress process has.

    `moved` counts the callbacks that are in the inbox now, by source, also while and after a move that fails.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        """Takes the file over. Raises SpoolInUse while its ingress runs, SpoolError when it cannot be used."""
        super().__init__(settings)
        self.moved: Counter[str] = Counter()
        self._settings = settings
        self._moved_at = monotonic()
        self._failure: SpoolError | None = None
        self._group: list[Spooled] = []
        spool_files.read(path)  # else a database of something else would become a spool
        self._file = spool.take(path, settings.spool_bytes)
        self._adopted.append(self._file)

    async def move(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Moves the callbacks to the inbox and removes the file. Raises SpoolError, or RedisUnavailable when Redis does
        not take them: what was not moved then is still in the file."""
        inbox = Shards.connect(self._settings)
        ringer = Ringer.connect(self._settings.celery_url, self._settings.connect_seconds, now)
        mover = SpoolMover(Keeper(inbox, self, ringer, self._settings), self, inbox, self._settings)
        moving = None
        try:
            await self._report(inbox)
            moving = asyncio.create_task(mover.run())
            await self._wait_until_moved(inbox)
        except Unavailable:
            if self._failure:
                raise self._failure from None
            raise
        finally:
            if moving is not None:
                moving.cancel()
                await asyncio.wait([moving])
            await self.close()
            await inbox.close()
            await ringer.close()

    async def adopt(self) -> None:
        """No other file."""

    async def oldest(self, file: Spool, count: int, limit_bytes: int) -> list[Spooled]:
        self._group = await super().oldest(file, count, limit_bytes)
        return self._group

    async def remove_through(self, file: Spool, number: int) -> None:
        self.moved.update(spooled.source for spooled in self._group)
        self._moved_at = monotonic()
        await super().remove_through(file, number)

    async def _report(self, inbox: Shards) -> None:
        """Sends to the ledger what is in the file. Of an empty one too: whoever emptied it may have died before it
        reported that, and the mover does not."""
        counts = await self.counts(self._file)
        ends_at = monotonic() + CONNECTIONS * self._settings.connect_seconds
        while True:
            try:
                return await inbox.report_spool(self._file.path.name, counts)
            except RedisUnavailable:  # perhaps it is still connecting
                if monotonic() > ends_at:
                    raise
                await asyncio.sleep(POLL_SECONDS)

    async def _wait_until_moved(self, inbox: Shards) -> None:
        while self.files:
            if self._failure:
                raise self._failure
            if monotonic() - self._moved_at > PATIENCE_SECONDS + self._settings.move_seconds:
                state = await inbox.state()
                raise RedisUnavailable("Redis takes callbacks too slowly" if state.takes else state.words)
            await asyncio.sleep(POLL_SECONDS)

    async def _run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Keeps a failure for the caller of `move`. The mover, which would try again, passes over what it gets."""
        try:
            return await super()._run(work, *args, **kwargs)
        except SpoolError as error:
            self._failure = error
            raise Unavailable(str(error)) from None
