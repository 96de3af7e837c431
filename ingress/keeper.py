"""Where a group of callbacks is made durable: in Redis, or in the spool while Redis cannot take it (promises P1, P6).

After a failure of Redis every group goes to the spool at once, until Redis is found back.
"""

import asyncio
from collections.abc import Awaitable

from ingress.metrics import CONFIRMING, REDIS_UP
from ingress.pace import Pace
from ingress.spools import Spools
from shared import logs
from shared.errors import Unavailable
from shared.inbox import Group, Ringer, Shards
from shared.settings import Settings

PROBE_SECONDS = 0.5  # between two probes whether Redis is back

log = logs.get(__name__)


class Keeper:
    """One for each ingress process."""

    def __init__(self, inbox: Shards, spools: Spools, ringer: Ringer, settings: Settings) -> None:
        self._settings = settings
        self._pace = Pace(settings.group_count, settings.group_bytes)
        self._inbox = inbox
        self._spools = spools
        self._ringer = ringer

    @property
    def is_redis_away(self) -> bool:
        """Whether Redis failed, and is not known to be back."""
        return self._inbox.failure is not None

    @property
    def most(self) -> tuple[int, int]:
        """How many callbacks, and how many bytes, should be in the next group at most."""
        if self.is_redis_away:
            return self._settings.group_count, self._settings.group_bytes
        return self._pace.count, self._pace.limit_bytes

    async def run(self) -> None:
        """Asks whether Redis is back, and notes what it lost, for as long as the ingress runs."""
        while True:
            REDIS_UP.set(not self.is_redis_away)
            for shard, count in self._inbox.confirming.items():
                CONFIRMING.labels(shard).set(count)
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await self._inbox.probe()
                await self._inbox.report_lost()
            except Unavailable:
                pass
            except Exception as error:
                log.error("probing Redis failed", exc_info=error)

    async def keep(self, group: Group) -> None:
        """Returns once the group is on disk, in Redis or in the spool. Raises Unavailable when neither takes it."""
        was_away = self.is_redis_away
        try:
            await self._inbox.append(group)
        except Unavailable as error:
            redis_failure = str(error)
            if not was_away:
                self._pace.shrink()
                log.warning("keeping callbacks in the spool", why=redis_failure)
        else:
            self._pace.grow()
            return
        finally:
            self._ringer.ring()  # Redis may have it also when that is not certain
        try:
            await self._spools.append(group)
        except Unavailable as error:
            raise Unavailable(f"{redis_failure}; {error}") from None

    async def move(self, group: Group, seconds: float) -> None:
        """To Redis only, with this time for each shard. Raises Unavailable."""
        await self._inbox.move(group, seconds)
        self._ringer.ring()

    async def state(self) -> tuple[bool, dict[str, str]]:
        """Whether a callback would be taken now; and for Redis and for the spool `ok`, or why not."""
        inbox = await self._inbox.state()
        spool = await _outcome(self._spools.probe())
        return inbox.takes or spool == "ok", {"redis": inbox.words, "spool": spool}

    @property
    def replicas(self) -> str:
        """`ok`, or how many confirm of those that are waited for."""
        wanted = self._settings.redis_wait_replicas
        few = [f"{count} of {wanted} confirm" for count in self._inbox.confirming.values() if count < wanted]
        return few[0] if few else "ok"


async def _outcome(probe: Awaitable[None]) -> str:
    try:
        await probe
    except Unavailable as error:
        return str(error)
    return "ok"
