"""The ingress's end of the inbox."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from shared import doorbell
from shared.callback import new_id
from shared.errors import Unavailable
from shared.inbox.keys import INBOX, LEDGER, MEMORY_SHARE, PROBE, SPOOLS, script
from shared.inbox.seen import Seen, answer, ask

_APPEND = script("append")


class Appender:
    """Appends callbacks, and reads the ledger for `/metrics`."""

    def __init__(self, client: redis.asyncio.Redis, limit: int, deadline_seconds: float) -> None:
        self._client = client
        self._limit = limit
        self._deadline_seconds = deadline_seconds
        self._append = client.register_script(_APPEND)

    async def append(self, group: Sequence[tuple[str, bytes]], now: datetime) -> None:
        """Makes all of (source, packed callback) durable, or none. One round trip, and one fsync of Redis.

        Raises Unavailable when Redis refuses, is away or does not answer in time. Then the group may have been
        taken all the same; appending it again is harmless, since a callback's id makes it one.
        """
        arguments: list[Any] = [self._limit, MEMORY_SHARE, doorbell.ring(new_id(now))]
        for pair in group:
            arguments += pair
        async with self._call():
            await self._append(keys=[INBOX, LEDGER, doorbell.QUEUE], args=arguments)

    async def probe(self) -> None:
        """Raises Unavailable unless Redis would take a callback now: room for one, and writing works."""
        async with self._call():
            await self._append(keys=[INBOX, LEDGER, doorbell.QUEUE], args=[self._limit, MEMORY_SHARE, b""])
            await self._client.set(PROBE, b"")

    async def report_spool(self, file: str, counts: Mapping[str, int]) -> None:
        """Notes how many callbacks of each source wait in a spool file. Raises Unavailable."""
        async with self._call():
            if counts:
                await self._client.hset(SPOOLS, file, msgspec.json.encode(counts))
            else:
                await self._client.hdel(SPOOLS, file)

    async def look(self) -> Seen:
        """The inbox at this moment. Raises Unavailable."""
        async with self._call(), self._client.pipeline() as pipe:
            ask(pipe)
            return answer(await pipe.execute())

    async def close(self) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        """Raises Unavailable when Redis refuses what is asked inside, is away or does not answer in time."""
        try:
            async with asyncio.timeout(self._deadline_seconds):
                yield
        except TimeoutError:
            raise Unavailable(f"Redis did not answer within {self._deadline_seconds:g} s") from None
        except (RedisError, OSError) as error:
            raise Unavailable(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, ResponseError) and str(error).startswith("FULL "):
        return str(error).removeprefix("FULL ")
    return f"Redis cannot take it ({type(error).__name__})"
