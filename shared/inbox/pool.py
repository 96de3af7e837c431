"""A pool of connections of asyncio whose users may have less time than connecting takes."""

import asyncio
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError


class PatientPool(redis.asyncio.ConnectionPool):
    """Goes on connecting when the time of the caller is up, so that a later one finds the connection made."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._attempts: dict[Any, asyncio.Task[None]] = {}

    async def ensure_connection(self, connection: Any) -> None:
        attempt = self._attempts.get(connection)
        if attempt is None:
            if await _is_usable(connection):
                return
            attempt = self._attempts[connection] = asyncio.create_task(connection.connect())
            attempt.add_done_callback(lambda done: self._attempted(connection, done))
        await asyncio.shield(attempt)

    async def aclose(self) -> None:
        for attempt in self._attempts.values():
            attempt.cancel()
        await super().aclose()

    def _attempted(self, connection: Any, done: asyncio.Task[None]) -> None:
        del self._attempts[connection]
        if not done.cancelled():
            done.exception()  # whoever waited has it


async def _is_usable(connection: Any) -> bool:
    """Whether it is connected, and nothing waits to be read: its end, or what an earlier caller left behind."""
    if not connection.is_connected:
        return False
    try:
        if not await connection.can_read():
            return True
    except (RedisError, OSError):
        pass
    await connection.disconnect(nowait=True)
    return False
