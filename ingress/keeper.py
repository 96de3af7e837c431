"""Where a group of callbacks is made durable: in Redis, or in the spool while Redis cannot take it (promises P1, P6).

After one failure of Redis every group goes to the spool at once, until `ingress/spool_mover.py` finds Redis back.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime

from ingress.spools import Spools
from shared import logs
from shared.errors import Unavailable
from shared.inbox import Appender, Group

log = logs.get(__name__)


class Keeper:
    """One for each ingress process."""

    def __init__(self, inbox: Appender, spools: Spools, now: Callable[[], datetime]) -> None:
        self._inbox = inbox
        self._spools = spools
        self._now = now
        self._redis_failure: str | None = None  # the latest; None while Redis takes callbacks

    @property
    def is_redis_away(self) -> bool:
        """Whether Redis failed, and is not known to be back."""
        return self._redis_failure is not None

    async def keep(self, group: Group) -> None:
        """Returns once the group is on disk, in Redis or in the spool. Raises Unavailable when neither takes it."""
        if self._redis_failure is None:
            try:
                await self.append(group)
            except Unavailable as error:
                self.redis_failed(str(error))
            except Exception as error:
                log.error("append failed", exc_info=error)
                self.redis_failed("the append failed")
            else:
                return
        redis_failure = self._redis_failure
        try:
            await self._spools.append(group)
        except Unavailable as error:
            raise Unavailable(f"{redis_failure}; {error}") from None

    async def append(self, group: Group) -> None:
        """To Redis only. Raises Unavailable."""
        await self._inbox.append(group, self._now())

    async def probe_redis(self) -> None:
        """Raises Unavailable unless Redis would take a callback now."""
        await self._inbox.probe()

    async def state(self) -> dict[str, str]:
        """What would take a callback now: `ok`, or why not, for Redis and for the spool."""
        return {"redis": await _outcome(self.probe_redis()), "spool": await _outcome(self._spools.probe())}

    def redis_failed(self, why: str) -> None:
        """From now on groups go to the spool."""
        if self._redis_failure is None:
            log.warning("keeping callbacks in the spool", why=why)
        self._redis_failure = why

    def redis_answered(self) -> None:
        """From now on groups go to Redis."""
        if self._redis_failure is not None:
            self._redis_failure = None
            log.info("Redis is back")


async def _outcome(probe: Awaitable[None]) -> str:
    try:
        await probe
    except Unavailable as error:
        return str(error)
    return "ok"
