"""Rings the doorbell for an ingress process, apart from what it appends: without a broker there is only latency."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import redis.asyncio
from redis.exceptions import RedisError

from shared.callback import new_id
from shared.inbox.client import connect_broker_async
from shared.inbox.doorbell import QUEUE, message
from shared.inbox.keys import script

PAUSE_SECONDS = 0.02  # between two doorbells: a drain that runs takes what comes without being asked
RING_SECONDS = 1.0  # for the broker to take one


class Ringer:
    """No one waits for it. It rings at most once in PAUSE_SECONDS, and then once more for all that came in between."""

    def __init__(self, client: redis.asyncio.Redis, now: Callable[[], datetime]) -> None:
        self._client = client
        self._now = now
        self._script = client.register_script(script("ring"))
        self._ringing: asyncio.Task[None] | None = None
        self._again = False

    @classmethod
    def connect(cls, url: str, connect_seconds: float, now: Callable[[], datetime]) -> "Ringer":
        """Rings at the broker of this URL."""
        return cls(connect_broker_async(url, connect_seconds), now)

    def ring(self) -> None:
        """Sends a doorbell soon, if none is waiting for a worker."""
        self._again = True
        if self._ringing is None:
            self._ringing = asyncio.get_running_loop().create_task(self._ring())

    async def close(self) -> None:
        """After the last doorbell."""
        if self._ringing is not None:
            await self._ringing
        await self._client.aclose()

    async def _ring(self) -> None:
        """A doorbell that is lost is made up for by the next one, or by beat."""
        try:
            while self._again:
                self._again = False
                with suppress(RedisError, OSError):
                    async with asyncio.timeout(RING_SECONDS):
                        await self._script(keys=[QUEUE], args=[message(new_id(self._now()))])
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._ringing = None
